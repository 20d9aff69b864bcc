"""Scores of what is allowed, and the distribution over it."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from emnat_jax.types import NEG_INF

Allowed = Bool[Array | np.ndarray, "..."]  # broadcasts to the scores


def mask(scores: Float[Array, "*B V"], allowed: Allowed) -> Float[Array, "*B V"]:
    """The scores of what is allowed, NEG_INF elsewhere."""
    return jnp.where(jnp.broadcast_to(jnp.asarray(allowed), scores.shape), scores, NEG_INF)


def masked_log_softmax(scores: Float[Array, "*B V"], allowed: Allowed) -> Float[Array, "*B V"]:
    """Log-probabilities over what is allowed, NEG_INF elsewhere, throughout a row in which nothing is."""
    return mask(jax.nn.log_softmax(mask(scores, allowed), axis=-1), allowed)
