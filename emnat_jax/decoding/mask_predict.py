"""Mask-predict: several passes, each predicting anew what the last one was least sure of."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from emnat_jax.decoding.top import top_1
from emnat_jax.types import HIDDEN, PAD

PredictFn = Callable[[jax.Array], jax.Array]
"""Tokens i32[B, T] that are shown, HIDDEN where none is -> log_probs f32[B, T, V] of every position."""


class Refined(NamedTuple):
    """The outcome of mask-predict."""

    tokens: jax.Array  # i32[B, T]; PAD beyond the length
    confidence: jax.Array  # f32[B]; summed log-probability of each token when it was last predicted
    log_prob: jax.Array  # f32[B]; of the tokens in the first, fully masked pass


def mask_predict(predict: PredictFn, lengths: Int[Array, " B"], width: int, iterations: int) -> Refined:
    """The best tokens of a first pass, refined in `iterations` - 1 more.

    Mask-predict of Ghazvininejad et al. (EMNLP 2019, section 3). Before pass i + 1 of k the
    floor(free x (k - i) / k) least confident positions are masked again, free being all but the last, where
    EOS stands for certain. Ties mask the earlier position.
    """
    keep = jnp.arange(width)[None] < lengths[:, None]
    free = jnp.arange(width)[None] < lengths[:, None] - 1
    first = predict(jnp.full(keep.shape, HIDDEN, jnp.int32)).astype(jnp.float32)
    best, tokens = top_1(first)

    def refine(done, state):
        tokens, best = state
        count = (lengths - 1) * (iterations - done) // iterations
        hidden = least(best, free, count)
        shown = jnp.where(free & ~hidden, tokens, HIDDEN)
        again, predicted = top_1(predict(shown).astype(jnp.float32))
        return jnp.where(hidden, predicted, tokens), jnp.where(hidden, again, best)

    tokens, best = jax.lax.fori_loop(1, iterations, refine, (tokens, best))
    in_first = jnp.take_along_axis(first, tokens[..., None], axis=-1)[..., 0]
    total, in_first = (jnp.sum(jnp.where(keep, x, 0.0), axis=-1) for x in (best, in_first))
    return Refined(jnp.where(keep, tokens, PAD), total, in_first)


def least(
    values: Float[Array, "B T"], eligible: Bool[Array, "B T"], count: Int[Array, " B"]
) -> Bool[Array, "B T"]:
    """The `count` eligible positions of each row with the smallest values, the earlier of equals first."""
    order = jnp.argsort(jnp.where(eligible, values, jnp.inf), axis=-1)  # stable
    return eligible & (jnp.argsort(order, axis=-1) < count[:, None])
