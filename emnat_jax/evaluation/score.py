"""Run `score` and the unsmoothed losses over pairs."""

from collections.abc import Callable

import jax
import numpy as np

from emnat_jax.config import DataConfig
from emnat_jax.data.pipeline import Pairs, sequential_batches
from emnat_jax.families.base import Family
from emnat_jax.training.layout import Layout, batch_sharding, replicated, row_shares, to_global, use_layout
from emnat_jax.types import Batch, Mean, Metrics, Params

ScoreStep = Callable[[Params, Batch], jax.Array]


def make_score_step(family: Family, layout: Layout) -> ScoreStep:
    """Compiled (params, batch) -> log p(target | source) f32[B] in nats."""
    rows = batch_sharding(layout.mesh)
    return jax.jit(family.score, in_shardings=(None, rows), out_shardings=replicated(layout.mesh))


def score_pairs(
    score: ScoreStep, params: Params, pairs: Pairs, *, data: DataConfig, layout: Layout
) -> np.ndarray:
    """log p(target | source) f32[n] of every pair, in the order of the data set."""
    order = np.argsort(pairs.row, kind="stable")
    log_prob = np.zeros(pairs.size, np.float32)
    batches = sequential_batches(pairs, data.buckets, data.decode_rows * row_shares(layout))
    with use_layout(layout):
        for batch in batches:
            values = jax.device_get(score(params, to_global(layout, batch)))
            real = batch.row >= 0
            places = order[np.searchsorted(pairs.row, batch.row[real], sorter=order)]
            log_prob[places] = values[real]
    return log_prob


def make_loss_step(family: Family, layout: Layout) -> Callable[[Params, Batch], Metrics]:
    """Compiled (params, batch) -> the family's metrics without dropout."""

    def losses(params: Params, batch: Batch) -> Metrics:
        return family.loss(params, batch, None, 0)[1]

    return jax.jit(
        losses, in_shardings=(None, batch_sharding(layout.mesh)), out_shardings=replicated(layout.mesh)
    )


def summed_metrics(loss_step, params: Params, pairs: Pairs, *, data: DataConfig, layout: Layout) -> Metrics:
    """The family's metrics pooled over all pairs, in float64."""
    batches = sequential_batches(pairs, data.buckets, data.decode_rows * row_shares(layout))
    sums: dict[str, Mean] = {}
    with use_layout(layout):
        for batch in batches:
            for name, mean in jax.device_get(loss_step(params, to_global(layout, batch))).items():
                mean = Mean(float(mean.total), float(mean.weight))
                sums[name] = sums[name].merge(mean) if name in sums else mean
    return sums
