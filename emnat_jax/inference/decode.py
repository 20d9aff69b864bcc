"""Run `decode` over a data set: padded batches in, hypotheses out, in the order of the data set."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from emnat_jax.config import ModelSpec
from emnat_jax.data.batches import sequential_batches
from emnat_jax.data.pairs import Pairs, numbered
from emnat_jax.families import make_family
from emnat_jax.families.base import Family
from emnat_jax.inference.batching import Machine, RowSizes, each_batch
from emnat_jax.inference.candidates import Candidates
from emnat_jax.runtime.mesh import Layout, batch_sharding
from emnat_jax.types import EOS, Batch, Hypotheses, Params, is_impossible

Weights = Any  # Params, or a tuple of them where several models work together
DecodeStep = Callable[[Weights, Batch], Hypotheses]
LengthsStep = Callable[[Weights, Batch], tuple[Hypotheses, ...]]


def decode_pairs(decode: DecodeStep, params: Weights, pairs: Pairs, machine: Machine) -> list[Candidates]:
    """The candidates of every source, in the order of the data set.

    All processes call it together, each with its own pairs, or with none.
    """
    found: dict[int, Candidates] = {}
    for batch, hypotheses in each_decoded(decode, params, pairs, machine):
        found.update(candidates_of(batch.row, hypotheses))
    return [found[index] for index in range(pairs.size)]


def decode_by_length(
    decode: LengthsStep, params: Params, pairs: Pairs, machine: Machine
) -> Iterator[list[Candidates]]:
    """For each value that `decode` (of `make_lengths_step`) decodes with, the candidates of every source."""
    batches = list(each_decoded(decode, params, pairs, machine))
    for results in zip(*(results for _, results in batches), strict=True):
        found: dict[int, Candidates] = {}
        for (batch, _), hypotheses in zip(batches, results, strict=True):
            found.update(candidates_of(batch.row, hypotheses))
        yield [found[index] for index in range(pairs.size)]


def each_decoded(
    decode: Callable, params: Weights, pairs: Pairs, machine: Machine
) -> Iterator[tuple[Batch, Any]]:
    """(batch, what `decode` gives for it) for batches that hold every source once."""
    rows = machine.rows(decode, params, RowSizes(target=1))
    batches = (
        # Targets play no part, and their width would compile the search anew for every data set.
        dataclasses.replace(batch, target=batch.target[:, :1])
        for batch in sequential_batches(numbered(pairs), machine.data.buckets, rows, by="source")
    )
    return each_batch(functools.partial(decode, params), batches, machine)


def make_decode_step(family: Family, layout: Layout, num_candidates: int) -> DecodeStep:
    """Compiled (params, batch) -> Hypotheses of the batch's sources; compiles once for each width."""

    def decode(params: Params, batch: Batch) -> Hypotheses:
        # A fixed key: what is drawn depends on parameters and options alone.
        return family.decode(params, batch.source, jax.random.key(0), num_candidates)

    rows = batch_sharding(layout.mesh)
    return jax.jit(decode, in_shardings=(None, rows), out_shardings=rows)


def make_lengths_step(model: ModelSpec, values: Sequence[float], layout: Layout) -> LengthsStep:
    """Compiled (params, batch) -> the best Hypotheses with each value of what moves their length.

    That is the option which `model.options.length_choices` names. In one program the compiler shares what
    does not depend on the value: the network of a family of one pass.
    """
    families = [make_family(model.with_length(value)) for value in values]

    def decode(params: Params, batch: Batch) -> tuple[Hypotheses, ...]:
        return tuple(family.decode(params, batch.source, jax.random.key(0), 1) for family in families)

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
