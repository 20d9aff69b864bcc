"""Cross-entropy by docs/method.md, section 13.8 and by sums over classes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.losses.cross_entropy import smoothed_cross_entropy, token_log_probs
from emnat_jax.types import NEG_INF

smoothed = jax.jit(smoothed_cross_entropy, static_argnums=2)
log_probs_of = jax.jit(token_log_probs)


@pytest.mark.parametrize(("smoothing", "wanted"), [(0.0, 0.451914), (0.1, 0.651914)])
def test_worked_case(smoothing, wanted):
    logits = jnp.array([[2.0, 1.0, 0.0, -1.0, -2.0]])
    loss = smoothed(logits, jnp.array([0]), smoothing, jnp.ones(5, bool))
    np.testing.assert_allclose(loss, [wanted], atol=1e-6)


def by_classes(logits, token, smoothing, allowed):
    """Cross-entropy of one position as a sum over its classes, float64."""
    logits = np.where(allowed, np.asarray(logits, np.float64), -np.inf)
    log_probs = logits - np.log(np.sum(np.exp(logits)))
    wanted = (1 - smoothing) * (np.arange(logits.size) == token) + smoothing * allowed / allowed.sum()
    return -np.sum(wanted[allowed] * log_probs[allowed])


@pytest.mark.parametrize("shape", [(30,), (6, 5)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_equals_a_sum_over_allowed_classes(shape, dtype):
    rng = np.random.default_rng(0)
    allowed = np.arange(9) % 3 != 0
    logits = jnp.asarray(rng.normal(size=(*shape, 9)) * 3, dtype)
    tokens = rng.choice(np.flatnonzero(allowed), size=shape)
    masked = jnp.asarray(np.where(allowed, np.asarray(logits, np.float32), NEG_INF), dtype)
    for mask in (allowed, jnp.asarray(allowed)):
        loss = smoothed(masked, jnp.asarray(tokens), 0.1, mask)
        flat = zip(np.asarray(logits, np.float64).reshape(-1, 9), tokens.ravel(), strict=True)
        wanted = np.reshape([by_classes(row, token, 0.1, allowed) for row, token in flat], shape)
        chex.assert_type(loss, jnp.float32)
        np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    np.testing.assert_allclose(
        log_probs_of(masked, jnp.asarray(tokens)),
        -np.asarray(smoothed(masked, jnp.asarray(tokens), 0.0, allowed)),
        rtol=1e-6,
    )


def test_gradient_is_the_model_minus_the_smoothed_target():
    allowed = np.array([False, True, True, True, False, True])
    logits = np.where(allowed, [0.0, 1.0, -1.0, 2.0, 0.0, 0.5], NEG_INF)
    tokens = jnp.array([3])
    loss = jax.jit(jax.grad(lambda x: smoothed_cross_entropy(x, tokens, 0.1, allowed)[0]))
    grad = loss(jnp.asarray(logits[None], jnp.float32))
    wanted = np.exp(logits) / np.exp(logits).sum() - 0.9 * (np.arange(6) == 3) - 0.1 * allowed / 4
    np.testing.assert_allclose(grad[0], wanted, atol=1e-6)


def test_far_logits_stay_finite():
    logits = jnp.array([[1e4, -1e4, 0.0]])
    log_probs = [log_probs_of(logits, jnp.array([i]))[0] for i in range(3)]
    np.testing.assert_allclose(log_probs, [0.0, -2e4, -1e4])
