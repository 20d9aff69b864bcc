"""Times of translation by batch size, systems in turns, and the quality of what was timed."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from emnat_jax.profiling.samples import Sample
from emnat_jax.profiling.side_by_side import Call, interleaved, timed
from emnat_jax.profiling.systems import System
from emnat_jax.report.timings import BatchTiming

MIN_CALLS = 20  # of which a 95th percentile is more than the slowest; fewer batches are translated repeatedly


class _FirstPass(NamedTuple):
    seconds: float
    outputs: list[Any]  # of each source of the sample


def measure_latency(
    systems: Sequence[System],
    sample: Sample,
    sizes: Sequence[int],
    note: Callable[[str], None] = lambda text: None,
) -> list[tuple[BatchTiming, ...]]:
    """Of each system the time of a batch for each batch size, and BLEU of what was translated.

    All batches are translated once unmeasured before, then in turns (A, B, C, A, B, C, ...) until there are
    MIN_CALLS of each system. All that a model does is inside the time: segmentation, length prediction,
    search, rescoring and detokenisation.
    """
    by_size = []
    for size in sizes:
        note(f"batches of {size}")
        by_size.append(_measure(systems, sample, size))
    return list(zip(*by_size, strict=True))


def _measure(systems: Sequence[System], sample: Sample, size: int) -> list[BatchTiming]:
    """One size, for all systems."""
    places = make_batches(sample.lengths, size)
    calls = [[_call(system, sample, batch) for batch in places] for system in systems]
    first = [_first_pass(of_system, places, len(sample.lengths)) for of_system in calls]
    seconds = interleaved(calls, MIN_CALLS)
    reference = float(np.median(seconds[0]))
    return [
        _timing(size, times, passed, sample.bleu(passed.outputs), reference)
        for times, passed in zip(seconds, first, strict=True)
    ]


def _call(system: System, sample: Sample, places: Sequence[int]) -> Call:
    model = system.at_once(len(places), max(sample.lengths[place] for place in places))
    return sample.call(model, places)


def _first_pass(calls: Sequence[Call], places: Sequence[Sequence[int]], count: int) -> _FirstPass:
    """Compiles and warms up; the outputs of `count` sources, each from the last batch that has it."""
    outputs, seconds = [None] * count, 0.0
    for call, batch in zip(calls, places, strict=True):
        elapsed, found = timed(call)
        seconds += elapsed
        for place, output in zip(batch, found, strict=True):
            outputs[place] = output
    return _FirstPass(seconds, outputs)


def _timing(
    size: int, seconds: Sequence[float], first: _FirstPass, bleu: float | None, reference: float
) -> BatchTiming:
    median = float(np.median(seconds))
    return BatchTiming(
        batch=size,
        calls=len(seconds),
        median_ms=1e3 * median,
        p95_ms=1e3 * float(np.percentile(seconds, 95)),
        sentences_per_second=size * len(seconds) / sum(seconds),
        first_pass_seconds=first.seconds,
        bleu=bleu,
        mean_ms=1e3 * float(np.mean(seconds)),
        ratio=reference / median,
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
