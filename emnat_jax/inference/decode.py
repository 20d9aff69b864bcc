"""Run `decode` over a data set; used by the EM loop as well."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from emnat_jax.artifacts.records import Row
from emnat_jax.config import DataConfig
from emnat_jax.data.batches import sequential_batches
from emnat_jax.data.pairs import Pairs, make_pairs, numbered
from emnat_jax.data.vocab import Vocabulary
from emnat_jax.families.base import Family
from emnat_jax.inference.batching import each_batch
from emnat_jax.runtime.mesh import Layout, batch_sharding, own_rows
from emnat_jax.runtime.processes import Processes
from emnat_jax.types import EOS, Batch, Hypotheses, Params, is_impossible

Weights = Any  # Params, or a tuple of them where several models work together
DecodeStep = Callable[[Weights, Batch], Hypotheses]


class Candidates(NamedTuple):
    """The filled hypotheses of one source, best first."""

    tokens: list[np.ndarray]  # each i32[T], EOS included
    log_prob: np.ndarray  # f32[K]


def make_decode_step(family: Family, layout: Layout, num_candidates: int) -> DecodeStep:
    """Compiled (params, batch) -> Hypotheses of the batch's sources; compiles once a width."""

    def decode(params: Params, batch: Batch) -> Hypotheses:
        # No family draws samples yet: one fixed key keeps outputs a function of the parameters.
        return family.decode(params, batch.source, jax.random.key(0), num_candidates)

    rows = batch_sharding(layout.mesh)
    return jax.jit(decode, in_shardings=(None, rows), out_shardings=rows)


def decode_pairs(
    decode: DecodeStep,
    params: Weights,
    pairs: Pairs,
    *,
    data: DataConfig,
    layout: Layout,
    processes: Processes,
) -> list[Candidates]:
    """The candidates of every source, in the order of the data set.

    All processes call it together, each with its own pairs, or with none.
    """
    found: list[Candidates | None] = [None] * pairs.size
    # Targets play no part, and their width would compile the search anew for every data set.
    batches = (
        batch.replace(target=batch.target[:, :1])
        for batch in sequential_batches(
            numbered(pairs), data.buckets, own_rows(layout, data.decode_rows), by="source"
        )
    )
    step = functools.partial(decode, params)
    for batch, hypotheses in each_batch(step, batches, layout=layout, processes=processes):
        _unpack(batch.row, hypotheses, found)
    return found


def _unpack(rows: np.ndarray, hypotheses: Hypotheses, found: list) -> None:
    tokens, log_prob, rank_score = hypotheses.tokens, hypotheses.log_prob, hypotheses.rank_score
    lengths = np.argmax(tokens == EOS, axis=-1) + 1
    filled = ~is_impossible(rank_score)
    for index, row in enumerate(rows.tolist()):
        if row >= 0:
            keep = np.flatnonzero(filled[index])
            sequences = [tokens[index, k, : lengths[index, k]] for k in keep]
            found[row] = Candidates(sequences, log_prob[index, keep])


def sentence_pairs(sources: Sequence[np.ndarray], targets: Sequence[np.ndarray] | None = None) -> Pairs:
    """A data set in memory of token sequences with EOS; without targets each is an empty sentence."""
    empty = np.array([EOS], np.int32)
    rows = (
        Row(index, source, [empty if targets is None else targets[index]], "", "")
        for index, source in enumerate(sources)
    )
    return make_pairs(rows)


def encode_lines(lines: Sequence[str], vocabulary: Vocabulary, max_length: int | None) -> list[np.ndarray]:
    """Tokens and EOS of each line, cut to `max_length` where that is given."""
    eos = np.array([EOS], np.int32)
    keep = None if max_length is None else max_length - 1
    return [np.concatenate([tokens[:keep], eos]) for tokens in vocabulary.encode(list(lines))]
