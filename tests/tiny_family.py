"""The smallest Family that trains: a bag of source words that predicts every target word.

It has dropout, a matrix, a bias and a position table, so tests of training need no real model.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from emnat_jax.families.base import Family
from emnat_jax.models.dropout import dropout, hashed_key
from emnat_jax.types import EOS, NEG_INF, NUM_SPECIAL, PAD, Batch, Hypotheses, Mean

VOCAB, WIDTH, LENGTH = 24, 8, 6
AXES = {
    "tokens": ("vocab", "embed"),
    "positions": ("position", "embed"),
    "output": {"kernel": ("embed", "mlp"), "bias": ("mlp",)},  # as of a layer, which Muon trains
}


def make(rate: float = 0.1) -> Family:
    """A family whose loss drops a share of the bag's features."""
    return Family(
        init=_init,
        axes=AXES,
        loss=functools.partial(_loss, rate),
        score=lambda params, batch: _row_log_probs(params, batch, None, 0.0),
        decode=_decode,
    )


def batch(seed: int, rows: int = 8, length: int = LENGTH) -> Batch:
    """NumPy rows of random words, of differing lengths; targets are the sources plus one."""
    random = np.random.default_rng([7, seed])
    words = random.integers(NUM_SPECIAL, VOCAB - 1, (rows, length)).astype(np.int32)
    lengths = random.integers(2, length + 1, rows)[:, None]
    place = np.arange(length)[None, :]

    def padded(tokens):
        return np.where(place < lengths - 1, tokens, np.where(place == lengths - 1, EOS, PAD)).astype(
            np.int32
        )

    row = np.arange(rows, dtype=np.int32) + seed * rows
    return Batch(padded(words), padded(words + 1), np.ones(rows, np.float32), row)


class Stream:
    """Endless batches with a position that can be saved, as training wants it."""

    def __init__(self, rows: int = 8, batches_per_epoch: int = 5):
        self._rows, self._batches_per_epoch = rows, batches_per_epoch
        self._drawn = 0

    def __iter__(self):
        return self

    def __next__(self) -> Batch:
        self._drawn += 1
        return batch(self._drawn - 1, self._rows)

    def state(self) -> dict:
        """The position of the next batch."""
        return {
            "epoch": self._drawn // self._batches_per_epoch,
            "batch": self._drawn % self._batches_per_epoch,
        }

    def restore(self, state: dict) -> None:
        """Goes to a position that `state` returned."""
        self._drawn = state["epoch"] * self._batches_per_epoch + state["batch"]


def _init(key):
    return {
        "tokens": _noise(key, 0, (VOCAB, WIDTH)),
        "positions": 0.1 * _noise(key, 1, (LENGTH, WIDTH)),
        "output": {"kernel": 0.3 * _noise(key, 2, (WIDTH, VOCAB)), "bias": jnp.zeros(VOCAB)},
    }


def _noise(key, number, shape):
    """Numbers from -1 to 1; the library's generators take seconds to compile."""
    bits = jax.random.bits(jax.random.fold_in(hashed_key(key), number), shape)
    return bits.astype(jnp.float32) / 2.0**31 - 1.0


def _logits(params, source, key, rate):
    """f32[B, T, V]: the mean embedding of the source words, plus the position, as logits."""
    keep = (source != PAD)[..., None]
    bag = jnp.where(keep, params["tokens"][source], 0.0).sum(1) / keep.sum(1)
    features = (
        dropout(key if key is None else hashed_key(key), bag, rate)[:, None, :]
        + params["positions"][None, : source.shape[1]]
    )
    return (
        jnp.einsum("BTD,DV->BTV", features, params["output"]["kernel"]) + params["output"]["bias"][None, None]
    )


def _token_log_probs(params, batch, key, rate):
    log_probs = jax.nn.log_softmax(_logits(params, batch.source, key, rate))
    chosen = jnp.take_along_axis(log_probs, batch.target[..., None], axis=-1)[..., 0]
    return jnp.where(batch.target != PAD, chosen, 0.0)


def _row_log_probs(params, batch, key, rate):
    return _token_log_probs(params, batch, key, rate).sum(-1)


def _loss(rate, params, batch, key, step):
    log_probs = _token_log_probs(params, batch, key, rate)
    total = -(log_probs.sum(-1) * batch.weight).sum()
    tokens = ((batch.target != PAD).sum(-1) * batch.weight).sum()
    metrics = {"loss": Mean(total, tokens)}
    return total / jnp.maximum(tokens, 1.0), metrics


def _decode(params, source, key, num_candidates):
    tokens = _logits(params, source, None, 0.0).argmax(-1).astype(jnp.int32)
    filled = jnp.arange(num_candidates)[None, :] == 0
    rank_score = jnp.where(filled, 0.0, NEG_INF) * jnp.ones((source.shape[0], 1))
    return Hypotheses(
        jnp.broadcast_to(tokens[:, None], (source.shape[0], num_candidates, source.shape[1])),
        rank_score,
        rank_score,
    )
