"""Containers and constants that every layer shares; the constants are those of tokens.py.

Shape letters: B batch, S source length, T target length, L decoder positions, V vocabulary,
D width, F feed-forward width, H heads, C channels a head, K candidates, N layers.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from emnat_jax.tokens import (  # for families and decoders, which need both
    BLANK,
    BOS,
    EOS,
    HIDDEN,
    NEG_INF,
    NUM_SPECIAL,
    PAD,
    UNK,
    is_impossible,
)

__all__ = [
    "BLANK",
    "BOS",
    "EOS",
    "HIDDEN",
    "NEG_INF",
    "NUM_SPECIAL",
    "PAD",
    "UNK",
    "Array",
    "Batch",
    "Hypotheses",
    "Key",
    "Mean",
    "Metrics",
    "Params",
    "Progress",
    "is_impossible",
]

Key = jax.Array  # a typed key from jax.random.key
Params = dict[str, Any]  # a plain nested dict of arrays
Progress = jax.Array | float | int  # share of a training that is done, from 0 to 1
Array = Any  # in containers: NumPy rows, device arrays, tracers and abstract shapes alike


class Batch(struct.PyTreeNode):
    """Padded rows; every sequence ends in EOS and is right-padded with PAD."""

    source: Array  # i32[B, S]
    target: Array  # i32[B, T]
    weight: Array  # f32[B]; 0 for rows that only fill the batch
    row: Array  # i32[B]; line of the corpus, names a row in errors and outputs; -1 in fillers


class Hypotheses(struct.PyTreeNode):
    """K candidates a source, best first; unfilled slots have rank_score NEG_INF."""

    tokens: Array  # i32[B, K, T]; ends in EOS, padded with PAD
    log_prob: Array  # f32[B, K]; nats, summed, EOS and length term included
    rank_score: Array  # f32[B, K]; log_prob after the family's length penalty


class Mean(NamedTuple):
    """A mean that merges exactly over micro-batches, hosts and evaluation batches."""

    total: Any
    weight: Any

    def merge(self, other: "Mean") -> "Mean":
        """The mean over both sets of samples."""
        return Mean(self.total + other.total, self.weight + other.weight)

    def ratio(self) -> Any:
        """total / weight of arrays, 0 where nothing was weighed; differentiable."""
        return self.total / jnp.where(self.weight > 0, self.weight, 1.0)

    def value(self) -> float:
        """total / weight; 0 where nothing was weighed."""
        return float(self.total) / float(self.weight) if float(self.weight) else 0.0


Metrics = dict[str, Mean]
