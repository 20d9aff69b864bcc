"""Scores of candidates as arrays with one row a source. The E-step is host arithmetic in float64."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from emnat_jax.types import NEG_INF, is_impossible

Numbers = np.ndarray | jax.Array


class Scores(NamedTuple):
    """The candidates of some sources, best ranked first."""

    student_log_prob: Float[Numbers, "*B K"]  # nats; NEG_INF where there is none
    teacher0_log_prob: Float[Numbers, "*B K"]  # of round 0's teacher
    keep: Bool[Numbers, "*B K"]  # False in slots without a candidate
    lengths: Int[Numbers, "*B K"] | None = None  # tokens, EOS included; None: scores are of whole sentences
    quality: Float[Numbers, "*B K"] | None = None  # against the reference, 0 to 1; where the rule needs it
    columns: Mapping[str, Numbers] = MappingProxyType({})  # all that the rule needs, by name; each [*B, K]


class Weights(NamedTuple):
    """The exponents of the posterior."""

    alpha: float
    beta: float
    quality: float = 0.0


def per_unit(log_prob: Numbers, lengths: Numbers | None) -> np.ndarray:
    """Log-probabilities a sentence or, with `lengths`, a token; -inf becomes NEG_INF, so that 0 x it is 0.

    What a model cannot produce stays NEG_INF: divided by its length, the longest of such would be the best.
    """
    log_prob = np.maximum(np.asarray(log_prob, np.float64), NEG_INF)
    if lengths is None:
        return log_prob
    return np.where(is_impossible(log_prob), NEG_INF, log_prob / np.maximum(np.asarray(lengths), 1))


def padded(rows: Sequence[Sequence[float | int] | np.ndarray], width: int, filler: float) -> np.ndarray:
    """f64[n, width] of rows of different lengths."""
    table = np.full((len(rows), width), filler, np.float64)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return table
