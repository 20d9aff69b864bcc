"""Times of translation, from raw lines to raw translations, and the quality of what was timed."""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from emnat_jax.config import DataConfig, Scoring
from emnat_jax.evaluation.bleu import corpus_bleu
from emnat_jax.inference.model import CompiledModel, TrainedModel
from emnat_jax.inference.sentences import encode_lines
from emnat_jax.report.record import BatchTiming
from emnat_jax.runtime.mesh import Layout, row_shares

MIN_CALLS = 20  # of which a 95th percentile is more than the slowest; fewer batches are translated repeatedly

Translate = Callable[[Sequence[str]], list[str]]


class Sentences(NamedTuple):
    """What is translated under the clock."""

    sources: Sequence[str]
    references: Sequence[str]
    lengths: Sequence[int]  # tokens of the sources, EOS included


def measured_sentences(model: TrainedModel, sources: Sequence[str], references: Sequence[str]) -> Sentences:
    """The sentences with their lengths, as the model takes them."""
    tokens = encode_lines(sources, model.vocabulary, model.max_length)
    return Sentences(sources, references, [len(line) for line in tokens])


def measure_latency(
    make_translate: Callable[[int, int], Translate],
    sentences: Sentences,
    sizes: Sequence[int],
    buckets: Sequence[int],
    scoring: Scoring = Scoring(),
) -> tuple[BatchTiming, ...]:
    """Time of a batch for each batch size, and BLEU of what was translated.

    `make_translate(rows, width)` gives the function that translates so many lines, none of more than `width`
    tokens, as one batch. All batches are translated once unmeasured before, then until there are MIN_CALLS.
    Segmentation, length prediction, search, rescoring and detokenisation are inside the time.
    """
    return tuple(_measure(make_translate, sentences, size, buckets, scoring) for size in sizes)


def _measure(
    make_translate: Callable[[int, int], Translate],
    sentences: Sentences,
    size: int,
    buckets: Sequence[int],
    scoring: Scoring,
) -> BatchTiming:
    calls, places = [], make_batches(sentences.lengths, size)
    for batch in places:
        translate = make_translate(size, _width(max(sentences.lengths[i] for i in batch), buckets))
        calls.append(functools.partial(translate, [sentences.sources[i] for i in batch]))
    first = [_timed(call) for call in calls]
    outputs = {
        i: line for batch, (_, lines) in zip(places, first) for i, line in zip(batch, lines, strict=True)
    }
    passes = -(-MIN_CALLS // len(calls))
    seconds = [_timed(call)[0] for _ in range(passes) for call in calls]
    return BatchTiming(
        batch=size,
        calls=len(seconds),
        median_ms=1e3 * float(np.median(seconds)),
        p95_ms=1e3 * float(np.percentile(seconds, 95)),
        sentences_per_second=size * len(seconds) / sum(seconds),
        first_pass_seconds=sum(elapsed for elapsed, _ in first),
        bleu=corpus_bleu(
            [outputs[i] for i in range(len(sentences.sources))], [sentences.references], scoring
        ),
    )


def make_batches(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Places of the sentences of each batch, short ones first, exactly `size` in each.

    Where they do not divide, the longest come twice (or, of fewer than `size`, all come several times): an
    unfilled batch would cost as much as a full one.
    """
    order = np.argsort(lengths, kind="stable")
    again = np.resize(order[::-1], -len(order) % size)
    order = np.concatenate([order, again])
    order = order[np.argsort(np.asarray(lengths)[order], kind="stable")]
    return order.reshape(-1, size).tolist()


def one_batch(model: TrainedModel, layout: Layout, rows: int, width: int) -> Translate:
    """Translation of `rows` lines of at most `width` tokens as one batch, spread over the devices.

    Where the devices do not divide the rows, each has as many as the one with the most.
    """
    data = DataConfig(buckets=(width,), decode_rows=-(-rows // row_shares(layout)))
    functions = CompiledModel(model.config, data, layout)
    return dataclasses.replace(model, functions=functions).translate


def _width(length: int, buckets: Sequence[int]) -> int:
    """That of the narrowest bucket; of a longer sentence its own."""
    return next((bucket for bucket in buckets if length <= bucket), length)


def _timed(call: Callable[[], list[str]]) -> tuple[float, list[str]]:
    begin = time.perf_counter()
    lines = call()
    return time.perf_counter() - begin, lines
