"""Token log-probabilities and label-smoothed cross-entropy, from logits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


def token_log_probs(logits: Float[Array, "*B V"], tokens: Int[Array, "*B"]) -> Float[Array, "*B"]:
    """Log-probability (nats) that `logits` give to each token, in float32."""
    logits = logits.astype(jnp.float32)
    return _logit_of(logits, tokens) - jax.nn.logsumexp(logits, axis=-1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def smoothed_cross_entropy(
    logits: Float[Array, "*B V"],
    tokens: Int[Array, "*B"],
    smoothing: float,
    allowed: Bool[Array | np.ndarray, " V"],
) -> Float[Array, "*B"]:
    """Cross-entropy (nats, float32) against (1 - smoothing) on the token and smoothing on all of `allowed`.

    The smoothing share is uniform over the allowed classes, the token's own included (METHOD 6.8).
    Classes that are not allowed are those whose logits a model masks: they can hold any value here,
    `NEG_INF` included, and take part in the normaliser alone.
    """
    return _forward(logits, tokens, smoothing, allowed)[0]


def _forward(logits, tokens, smoothing, allowed):
    logits = logits.astype(jnp.float32)
    normaliser = jax.nn.logsumexp(logits, axis=-1)
    spread = jnp.where(_like(allowed, logits), logits, 0.0)
    uniform_logit = jnp.sum(spread, axis=-1) / jnp.sum(allowed)
    loss = normaliser - (1.0 - smoothing) * _logit_of(logits, tokens) - smoothing * uniform_logit
    return loss, (logits, tokens, allowed, normaliser)


def _backward(smoothing, saved, gradient):
    """softmax - wanted distribution, in one pass: automatic differentiation scatters into [B, T, V]."""
    logits, tokens, allowed, normaliser = saved
    wanted = smoothing / jnp.sum(allowed) * _like(allowed, logits)
    is_token = jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1) == tokens[..., None]
    wanted = jnp.where(is_token, wanted + (1.0 - smoothing), wanted)
    return gradient[..., None] * (jnp.exp(logits - normaliser[..., None]) - wanted), None, None


smoothed_cross_entropy.defvjp(_forward, _backward)


def _like(allowed, logits) -> jax.Array:
    return jnp.broadcast_to(jnp.asarray(allowed), logits.shape)


def _logit_of(logits: jax.Array, tokens: jax.Array) -> jax.Array:
    return jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
