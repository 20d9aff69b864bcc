"""Run `decode` over a data set: padded batches in, hypotheses out, in the order of the data set."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from emnat_jax.data.batches import sequential_batches
from emnat_jax.data.pairs import Pairs, numbered
from emnat_jax.families.base import Family
from emnat_jax.inference.batching import Machine, each_batch
from emnat_jax.inference.candidates import Candidates
from emnat_jax.runtime.mesh import Layout, batch_sharding
from emnat_jax.types import EOS, Batch, Hypotheses, Params, is_impossible

Weights = Any  # Params, or a tuple of them where several models work together
DecodeStep = Callable[[Weights, Batch], Hypotheses]


def decode_pairs(decode: DecodeStep, params: Weights, pairs: Pairs, machine: Machine) -> list[Candidates]:
    """The candidates of every source, in the order of the data set.

    All processes call it together, each with its own pairs, or with none.
    """
    rows = machine.rows(decode, params, target=1)
    batches = (
        # Targets play no part, and their width would compile the search anew for every data set.
        dataclasses.replace(batch, target=batch.target[:, :1])
        for batch in sequential_batches(numbered(pairs), machine.data.buckets, rows, by="source")
    )
    found: dict[int, Candidates] = {}
    for batch, hypotheses in each_batch(functools.partial(decode, params), batches, machine):
        found.update(candidates_of(batch.row, hypotheses))
    return [found[index] for index in range(pairs.size)]


def make_decode_step(family: Family, layout: Layout, num_candidates: int) -> DecodeStep:
    """Compiled (params, batch) -> Hypotheses of the batch's sources; compiles once for each width."""

    def decode(params: Params, batch: Batch) -> Hypotheses:
        # No family samples yet: a fixed key makes outputs depend on the parameters alone.
        return family.decode(params, batch.source, jax.random.key(0), num_candidates)

    rows = batch_sharding(layout.mesh)
    return jax.jit(decode, in_shardings=(None, rows), out_shardings=rows)


def candidates_of(rows: np.ndarray, hypotheses: Hypotheses) -> dict[int, Candidates]:
    """Place in the data set -> the hypotheses of that source, cut at EOS; fillers (row -1) are left out."""
    lengths = np.argmax(hypotheses.tokens == EOS, axis=-1) + 1
    filled = ~is_impossible(hypotheses.rank_score)
    found = {}
    for index, row in enumerate(rows.tolist()):
        if row >= 0:
            keep = np.flatnonzero(filled[index])
            tokens = [hypotheses.tokens[index, k, : lengths[index, k]] for k in keep]
            found[row] = Candidates(
                tokens, hypotheses.log_prob[index, keep], hypotheses.rank_score[index, keep]
            )
    return found
