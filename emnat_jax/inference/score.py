"""Run `score` and the unsmoothed losses over pairs."""

import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np

from emnat_jax.artifacts.records import Row
from emnat_jax.data.batches import list_batches, sequential_batches
from emnat_jax.data.pairs import Pairs, make_groups, numbered
from emnat_jax.families.base import Family
from emnat_jax.families.parallel import Parallel
from emnat_jax.families.target_lists import list_log_probs
from emnat_jax.inference.batching import Machine, RowSizes, each_batch
from emnat_jax.runtime.mesh import Layout, batch_sharding, replicated
from emnat_jax.types import Batch, Mean, Metrics, Params

ScoreStep = Callable[[Params, Batch], jax.Array]
LossStep = Callable[[Params, Batch], Metrics]


def score_pairs(score: ScoreStep, params: Params, pairs: Pairs, machine: Machine) -> np.ndarray:
    """log p(target | source) f32[n] in nats of every pair, in the order of the data set.

    All processes call it together, each with its own pairs, or with none.
    """
    rows = machine.rows(score, params)
    batches = sequential_batches(numbered(pairs), machine.data.buckets, rows)
    log_prob = np.zeros(pairs.size, np.float32)
    for batch, values in each_batch(functools.partial(score, params), batches, machine):
        real = batch.row >= 0
        log_prob[batch.row[real]] = values[real]
    return log_prob


def score_lists(
    step: ScoreStep, params: Params, rows: Sequence[Row], count: int, machine: Machine
) -> list[np.ndarray]:
    """log p(target | source) f32[k] in nats of the k targets of each row, k at most `count`.

    `step` is of `make_list_score_step`. All processes call it together, each with its own rows, or with none.
    """
    sources = machine.rows(step, params, RowSizes(targets=count))
    batches = list_batches(make_groups(rows, count), count, machine.data.buckets, sources)
    log_prob = np.zeros((len(rows), count), np.float32)
    for batch, values in each_batch(functools.partial(step, params), batches, machine, targets=count):
        real = batch.row >= 0
        log_prob[batch.row[real]] = values[real]
    return [scores[: len(row.targets)] for row, scores in zip(rows, log_prob, strict=True)]


def make_list_score_step(parts: Parallel, layout: Layout, count: int) -> ScoreStep:
    """Compiled (params, batch) -> log p f32[B, K] in nats of `count` targets a source, side by side."""
    rows = batch_sharding(layout.mesh)
    scores = functools.partial(list_log_probs, parts, count)
    return jax.jit(scores, in_shardings=(None, rows), out_shardings=rows)


def make_score_step(family: Family, layout: Layout) -> ScoreStep:
    """Compiled (params, batch) -> log p(target | source) f32[B] in nats."""
    rows = batch_sharding(layout.mesh)
    return jax.jit(family.score, in_shardings=(None, rows), out_shardings=rows)


def summed_metrics(loss_step: LossStep, params: Params, pairs: Pairs, machine: Machine) -> Metrics:
    """The family's metrics pooled over the pairs of all processes, in float64."""
    rows = machine.rows(loss_step, params)
    batches = sequential_batches(pairs, machine.data.buckets, rows)
    sums: dict[str, Mean] = {}
    for _, metrics in each_batch(functools.partial(loss_step, params), batches, machine):
        for name, mean in metrics.items():
            mean = Mean(float(mean.total), float(mean.weight))
            sums[name] = sums[name].merge(mean) if name in sums else mean
    return sums


def make_loss_step(family: Family, layout: Layout) -> LossStep:
    """Compiled (params, batch) -> the family's metrics without dropout."""

    def losses(params: Params, batch: Batch) -> Metrics:
        return family.loss(params, batch, None, 0)[1]

    rows, everywhere = batch_sharding(layout.mesh), replicated(layout.mesh)
    return jax.jit(losses, in_shardings=(None, rows), out_shardings=everywhere)
