"""Constraints on the mean of all choices: select.min_quality and select.max_drift.

The E-step asks for the distribution nearest to the rule's among those whose mean quality is at least b. It is
the rule's distribution times exp(weight x quality), and the weight is the multiplier of the constraint
(docs/method.md, section 4.2). The mean does not fall as the weight grows, for distributions and for hard
choices alike, so bisection finds it. A bound on the drift is the same with log p_teacher0 in place of the
quality.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from emnat_jax.config import SelectConfig
from emnat_jax.errors import UserError
from emnat_jax.estep.posterior import posterior_weights
from emnat_jax.estep.rules import choose, rule_scores
from emnat_jax.estep.scores import Scores, Weights, per_unit
from emnat_jax.runtime.processes import Processes

LARGEST = 1e6  # a weight; beyond it nothing else decides
STEPS = 60


class Constraint(NamedTuple):
    """What the choices must reach in the mean over all sources."""

    weight: str  # the field of Weights that is raised for it
    measures: str  # quality or teacher0_log_prob, a token's or a sentence's
    minimum: float  # of the mean
    option: str  # for messages


def configured_weights(config: SelectConfig) -> Weights:
    """The weights as they stand in the configuration."""
    return Weights(config.alpha, config.beta, config.quality_weight)


def constrained_weights(
    config: SelectConfig, tables: Mapping[str, Scores], processes: Processes
) -> tuple[Weights, dict[str, dict[str, float]]]:
    """The configured weights, one of them raised until select.min_quality or select.max_drift is met.

    `tables` are the scores of this process's shards by name; means are over the sources of all processes. The
    second value, for the manifest, is empty without a constraint, else {"constraint": {MEASURE: minimum,
    "reached": mean}}. Raises UserError for a constraint that no weight meets.
    """
    weights = configured_weights(config)
    constraint = _constraint(config, tables, processes)
    if constraint is None:
        return weights, {}

    def mean(weight: float) -> float:
        trial = weights._replace(**{constraint.weight: weight})
        return _mean(tables, processes, lambda scores: _expected(config, scores, trial, constraint))

    start = getattr(weights, constraint.weight)
    found = bisect_multiplier(mean, constraint.minimum, start, constraint.option)
    reached = {constraint.measures: constraint.minimum, "reached": mean(found)}
    return weights._replace(**{constraint.weight: found}), {"constraint": reached}


def bisect_multiplier(mean: Callable[[float], float], minimum: float, start: float, option: str) -> float:
    """The smallest weight >= `start` (up to rounding) with mean(weight) >= minimum.

    `mean` must not fall as its argument grows. Raises UserError, naming `option` and the largest mean, where
    no weight reaches the minimum.
    """
    if mean(start) >= minimum:
        return start
    low, high = start, max(2 * start, 1.0)
    while mean(high) < minimum:
        low, high = high, 4 * high
        if high > LARGEST:
            reached = mean(LARGEST)
            if reached >= minimum:
                high = LARGEST
                break
            raise UserError(
                f"{option} cannot be met: these candidates reach {reached:.4f} at most; ask for less."
            )
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if mean(middle) >= minimum else (middle, high)
    return high


def _constraint(
    config: SelectConfig, tables: Mapping[str, Scores], processes: Processes
) -> Constraint | None:
    """The constraint of the configuration; None where it has none."""
    if config.min_quality is not None:
        return Constraint(
            "quality", "quality", config.min_quality, f"select.min_quality={config.min_quality}"
        )
    if config.max_drift is None:
        return None
    best = _mean(tables, processes, lambda scores: _teacher0(scores)[:, 0])
    minimum = best - config.max_drift
    option = f"select.max_drift={config.max_drift}, a mean log p_teacher0 of {minimum:.4f},"
    return Constraint("beta", "teacher0_log_prob", minimum, option)


def _mean(
    tables: Mapping[str, Scores], processes: Processes, measure: Callable[[Scores], np.ndarray]
) -> float:
    """The mean over the sources of all shards, summed in their order: the same on any number of processes."""
    own = {name: (float(np.sum(measure(scores))), len(scores.keep)) for name, scores in tables.items()}
    shards = sorted(item for part in processes.gather("constraint", own) for item in part.items())
    total = math.fsum(total for _, (total, _) in shards)
    return total / max(sum(count for _, (_, count) in shards), 1)


def _expected(config: SelectConfig, scores: Scores, weights: Weights, constraint: Constraint) -> np.ndarray:
    """What is measured, of each source's hard choice or as the mean under the rule's distribution."""
    measured = np.asarray(scores.quality) if constraint.measures == "quality" else _teacher0(scores)
    values = np.where(scores.keep, measured, 0.0)
    if config.output == "hard":
        return np.take_along_axis(values, choose(config, scores, weights)[:, None], axis=1)
    return np.sum(values * posterior_weights(rule_scores(config, scores, weights)), axis=1)


def _teacher0(scores: Scores) -> np.ndarray:
    return per_unit(scores.teacher0_log_prob, scores.lengths)
