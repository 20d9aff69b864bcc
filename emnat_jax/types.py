"""Containers and constants that every layer shares.

Shape letters: B batch, S source length, T target length, L decoder positions, V vocabulary,
D width, F feed-forward width, H heads, C channels a head, K candidates, N layers.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

PAD, EOS, UNK, BOS = 0, 1, 2, 3  # docs/method.md, section 8.5: the special ids of the paper's vocabulary
NUM_SPECIAL = 4
BLANK = PAD  # of CTC frames: no target holds PAD
HIDDEN = -1  # no token is shown at a decoder position
NEG_INF = -1e9  # finite: sums and differences of it stay numbers

Key = jax.Array  # a typed key from jax.random.key
Params = dict[str, Any]  # a plain nested dict of arrays
Progress = jax.Array | float | int  # share of a training that is done, from 0 to 1
Array = Any  # in containers: NumPy rows, device arrays, tracers and abstract shapes alike


def is_impossible(log_prob: Any) -> Any:
    """True where a log-probability (NumPy, JAX or a number) stands for probability zero.

    That is NEG_INF, -inf, and NEG_INF with the log-probabilities of a whole sentence added: no possible
    sentence comes near half of it.
    """
    return log_prob <= NEG_INF / 2


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
