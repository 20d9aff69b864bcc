"""The weights of the posterior where one of them is fixed by what the choices must be in the mean over a corpus."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from emnat_jax.config import SelectConfig
from emnat_jax.estep.multiplier import bisect_multiplier
from emnat_jax.estep.posterior import Scores, Weights, choose, per_unit, posterior_weights
from emnat_jax.runtime.processes import Processes


def configured_weights(config: SelectConfig) -> Weights:
    """The weights as they stand in the configuration."""
    return Weights(config.alpha, config.beta, config.quality_weight)


def constrained_weights(
    config: SelectConfig, tables: Mapping[str, Scores], processes: Processes
) -> tuple[Weights, dict[str, dict[str, float]]]:
    """The configured weights, one of them raised until select.min_quality or select.max_drift is met.

    `tables` are the scores of this process's shards by name; the mean is over those of all processes, a
    source counts once. With them {"floor": {what: least mean, "reached": mean}}, in the units of the rule: a token's
    or a sentence's nats. Raises UserError for a floor that no weight reaches.
    """
    weights, name = configured_weights(config), "quality"
    floor, about = config.min_quality, f"select.min_quality={config.min_quality}"
    if floor is None:
        name = "beta"
        best = _mean(tables, processes, lambda scores: _column(scores, name)[:, 0])
        floor = best - config.max_drift
        about = f"select.max_drift={config.max_drift}, a mean log p_teacher0 of {floor:.4f},"

    def at(value: float) -> float:
        trial = weights._replace(**{name: value})
        return _mean(tables, processes, lambda scores: _expected(config, scores, trial, name))

    found = bisect_multiplier(at, floor, getattr(weights, name), about)
    what = "quality" if name == "quality" else "teacher0_log_prob"
    return weights._replace(**{name: found}), {"floor": {what: floor, "reached": at(found)}}


def _mean(
    tables: Mapping[str, Scores], processes: Processes, measure: Callable[[Scores], np.ndarray]
) -> float:
    """The mean over the rows of all shards, added up in their order: the same on any number of processes."""
    own = {name: (float(np.sum(measure(scores))), len(scores.keep)) for name, scores in tables.items()}
    parts = [
        part for _, part in sorted(item for own in processes.gather("floor", own) for item in own.items())
    ]
    return math.fsum(total for total, _ in parts) / max(sum(count for _, count in parts), 1)


def _column(scores: Scores, name: str) -> np.ndarray:
    """What the weight `name` multiplies, [rows, K]."""
    if name == "quality":
        return np.asarray(scores.quality)
    return per_unit(scores.teacher0_log_prob, scores.lengths)


def _expected(config: SelectConfig, scores: Scores, weights: Weights, name: str) -> np.ndarray:
    """What the choice of each row has of it: the hard choice's, or the mean under the posterior."""
    values = np.where(scores.keep, _column(scores, name), 0.0)
    if config.output == "hard":
        return np.take_along_axis(values, choose(config.rule, scores, weights)[:, None], axis=1)
    return np.sum(values * posterior_weights(scores, weights), axis=1)
