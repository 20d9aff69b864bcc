"""The output layer and its loss in one pass, against the logits of all positions."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.config import MeshConfig
from emnat_jax.losses import Targets, smoothed_cross_entropy, smoothed_loss_sums, token_log_probs
from emnat_jax.runtime.mesh import batch_sharding, make_layout, param_shardings, use_layout
from emnat_jax.types import NEG_INF

BATCH, LENGTH, WIDTH, VOCAB, SMOOTHING = 4, 7, 4, 12, 0.1
ALLOWED = np.arange(VOCAB) % 4 != 0


def example():
    """(states, table, bias), (tokens, weight): a position counts nothing, another twice."""
    rng = np.random.default_rng(0)
    states = rng.normal(size=(BATCH, LENGTH, WIDTH))
    table, bias = rng.normal(size=(VOCAB, WIDTH)), rng.normal(size=VOCAB)
    tokens = rng.choice(np.flatnonzero(ALLOWED), size=(BATCH, LENGTH))
    weight = rng.integers(0, 3, size=(BATCH, LENGTH))
    floats = [jnp.asarray(x, jnp.float32) for x in (states, table, np.where(ALLOWED, bias, NEG_INF))]
    return floats, (jnp.asarray(tokens), jnp.asarray(weight, jnp.float32))


def at_once(states, table, bias, tokens, weight):
    """Loss and negative log-likelihood over logits of all positions."""
    logits = jnp.einsum("btd,vd->btv", states, table, precision="highest") + bias[None, None]
    loss = jnp.sum(weight * smoothed_cross_entropy(logits, tokens, SMOOTHING, ALLOWED))
    return loss, -jnp.sum(weight * token_log_probs(logits, tokens))


def in_parts(rows, dtype="float32"):
    """As `at_once`, with so many positions at a time."""

    def sums(states, table, bias, tokens, weight):
        targets = Targets(tokens, weight, ALLOWED)
        return smoothed_loss_sums(states, table, bias, targets, smoothing=SMOOTHING, dtype=dtype, rows=rows)

    return sums


def with_gradients(function, scale=1.0):
    """((scaled loss, nll), gradients by states, table and bias)."""

    def scaled(*args):
        loss, nll = function(*args)
        return scale * loss, nll

    return jax.value_and_grad(scaled, argnums=(0, 1, 2), has_aux=True)


@pytest.mark.parametrize("rows", [1, 8, 12, 16, 100])  # of 7 positions 1, 2, 3, 4 or all at once
@pytest.mark.parametrize("scale", [1.0, -2.5])
def test_loss_and_gradients_are_those_of_all_logits(rows, scale):
    floats, given = example()
    parts = in_parts(rows)
    wanted = jax.jit(with_gradients(at_once, scale))(*floats, *given)
    found = jax.jit(with_gradients(parts, scale))(*floats, *given)
    chex.assert_trees_all_close(found, wanted, rtol=2e-5, atol=1e-6)
    chex.assert_trees_all_close(tuple(jax.jit(parts)(*floats, *given)), at_once(*floats, *given), rtol=1e-6)


@pytest.mark.parametrize("mesh", [{"model": 2}, {"fsdp": 2}, {}])
def test_parts_do_not_depend_on_the_layout(mesh):
    floats, given = example()
    step = with_gradients(in_parts(8))
    layout = make_layout(MeshConfig(**mesh), jax.devices()[:4])
    rows = batch_sharding(layout.mesh)
    weights = param_shardings(layout, {"table": ("vocab", "embed"), "bias": ("vocab",)})
    places = (rows, weights["table"], weights["bias"], rows, rows)
    with use_layout(layout):
        found = jax.jit(step, in_shardings=places)(*jax.device_put((*floats, *given), places))
    chex.assert_trees_all_close(found, step(*floats, *given), rtol=2e-5, atol=1e-6)


def test_bfloat16_rounds_the_products_and_keeps_float32_gradients():
    floats, given = example()
    rounded = [x.astype(jnp.bfloat16).astype(jnp.float32) for x in floats[:2]]
    (loss, _), gradients = with_gradients(in_parts(8, "bfloat16"))(*floats, *given)
    (wanted, _), wanted_gradients = with_gradients(at_once)(*rounded, floats[2], *given)
    np.testing.assert_allclose(loss, wanted, rtol=1e-2)
    for found, expected in zip(gradients, wanted_gradients, strict=True):
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())


def test_no_array_holds_the_logits_of_all_positions():
    floats, given = example()
    traced = jax.make_jaxpr(with_gradients(in_parts(4)))(*floats, *given)
    assert max(np.prod(value.aval.shape) for value in values_of(traced.jaxpr)) < BATCH * LENGTH * VOCAB


def values_of(jaxpr):
    """Everything that a trace and what it calls compute."""
    for eqn in jaxpr.eqns:
        yield from eqn.outvars
        for parameter in eqn.params.values():
            inner = getattr(parameter, "jaxpr", None)
            yield from values_of(inner) if inner is not None else ()
