"""Token log-probabilities and label-smoothed cross-entropy, from logits.

The first and the last work on rows [N, V]: a TPU lays out [B, T, V] in whole tiles of 8 x 128, and where T is
not a multiple of 8 the logits would be copied into that shape and back.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


def token_log_probs(logits: Float[Array, "*B V"], tokens: Int[Array, "*B"]) -> Float[Array, "*B"]:
    """Log-probability (nats, float32) that the softmax of `logits` gives to each token."""
    rows = _rows(logits)
    log_probs = _logit_of(rows, tokens.reshape(-1)) - jax.nn.logsumexp(rows, axis=-1)
    return log_probs.reshape(tokens.shape)


def emission_log_probs(logits: Float[Array, "B L V"], tokens: Int[Array, "B T"]) -> Float[Array, "B L T"]:
    """What each position gives to each target token: log softmax(logits)[b, l, tokens[b, t]], nats, float32.

    Input of the recursions over alignments and paths; makes no array of log-probabilities [B, L, V].
    """
    logits = logits.astype(jnp.float32)
    index = jnp.broadcast_to(tokens[:, None], (*logits.shape[:2], tokens.shape[1]))
    chosen = jnp.take_along_axis(logits, index, axis=-1)
    return chosen - jax.nn.logsumexp(logits, axis=-1, keepdims=True)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def smoothed_cross_entropy(
    logits: Float[Array, "*B V"],
    tokens: Int[Array, "*B"],
    smoothing: float,
    allowed: Bool[Array | np.ndarray, " V"],
) -> Float[Array, "*B"]:
    """Cross-entropy (nats, float32) against (1 - smoothing) on the token and smoothing on all of `allowed`.

    The smoothing share is uniform over the allowed classes, the token's own included (docs/method.md, 9.1).
    Classes that are not allowed are those whose logits a model masks: they can hold any value here,
    `NEG_INF` included, and take part in the normaliser alone.
    """
    return _forward(logits, tokens, smoothing, allowed)[0]


def _forward(logits, tokens, smoothing, allowed):
    rows = _rows(logits)
    normaliser = jax.nn.logsumexp(rows, axis=-1)
    on_allowed = jnp.where(jnp.asarray(allowed)[None], rows, 0.0)
    uniform_logit = jnp.sum(on_allowed, axis=-1) / jnp.sum(allowed)
    wanted = (1.0 - smoothing) * _logit_of(rows, tokens.reshape(-1)) + smoothing * uniform_logit
    return (normaliser - wanted).reshape(tokens.shape), (logits, tokens, allowed, normaliser)


def _backward(smoothing, saved, gradient):
    """softmax - wanted distribution, in one pass: automatic differentiation scatters into [B, T, V]."""
    logits, tokens, allowed, normaliser = saved
    rows = _rows(logits)
    uniform = jnp.asarray(allowed) / jnp.sum(allowed)
    change = gradient.reshape(-1, 1) * change_of_logits(
        rows, normaliser, tokens.reshape(-1), uniform, smoothing
    )
    return change.reshape(logits.shape), None, None


smoothed_cross_entropy.defvjp(_forward, _backward)


def change_of_logits(
    rows: Float[Array, "N V"],
    normaliser: Float[Array, " N"],
    tokens: Int[Array, " N"],
    uniform: Float[Array, " V"],
    smoothing: float,
) -> Float[Array, "N V"]:
    """Gradient of the smoothed cross-entropy by the logits: softmax - wanted distribution."""
    is_token = jax.lax.broadcasted_iota(jnp.int32, rows.shape, 1) == tokens[:, None]
    wanted = smoothing * uniform[None] + jnp.where(is_token, 1.0 - smoothing, 0.0)
    return jnp.exp(rows - normaliser[:, None]) - wanted


def _rows(logits: Array) -> jax.Array:
    return logits.astype(jnp.float32).reshape(-1, logits.shape[-1])


def _logit_of(rows: jax.Array, tokens: jax.Array) -> jax.Array:
    return jnp.take_along_axis(rows, tokens[:, None], axis=1)[:, 0]
