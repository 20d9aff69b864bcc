"""The output layer and its loss in one pass, against the logits of all positions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.losses import output_layer
from emnat_jax.losses.cross_entropy import smoothed_cross_entropy, token_log_probs
from emnat_jax.types import NEG_INF

BATCH, LENGTH, WIDTH, VOCAB, SMOOTHING = 3, 7, 4, 11, 0.1
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


def in_parts(dtype, states, table, bias, tokens, weight):
    targets = output_layer.Targets(tokens, weight, ALLOWED)
    return output_layer.smoothed_loss_sums(states, table, bias, targets, SMOOTHING, dtype)


@pytest.mark.parametrize("rows", [1, 6, 9, 12, 100])  # positions at once: one, two, three (one is left), all
@pytest.mark.parametrize("scale", [1.0, -2.5])
def test_loss_and_gradients_are_those_of_all_logits(monkeypatch, rows, scale):
    monkeypatch.setattr(output_layer, "ROWS", rows)
    floats, (tokens, weight) = example()

    def scaled(function, *args):
        loss, nll = function(*args)
        return scale * loss, nll

    results = []
    for function in (at_once, functools.partial(in_parts, "float32")):
        step = jax.value_and_grad(functools.partial(scaled, function), argnums=(0, 1, 2), has_aux=True)
        (loss, nll), gradients = jax.jit(step)(*floats, tokens, weight)
        alone = jax.jit(function)(*floats, tokens, weight)
        np.testing.assert_allclose([scale * alone[0], alone[1]], [loss, nll], rtol=1e-6)
        results.append((loss, nll, *gradients))
    for wanted, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=1e-6)


def test_bfloat16_rounds_the_products_and_keeps_float32_gradients(monkeypatch):
    monkeypatch.setattr(output_layer, "ROWS", 6)
    floats, (tokens, weight) = example()
    rounded = [x.astype(jnp.bfloat16).astype(jnp.float32) for x in floats[:2]]
    step = jax.value_and_grad(lambda *args: in_parts("bfloat16", *args)[0], argnums=(0, 1, 2))
    loss, gradients = step(*floats, tokens, weight)
    wanted, wanted_gradients = jax.value_and_grad(lambda *args: at_once(*args)[0], argnums=(0, 1, 2))(
        *rounded, floats[2], tokens, weight
    )
    np.testing.assert_allclose(loss, wanted, rtol=1e-2)
    for found, expected in zip(gradients, wanted_gradients, strict=True):
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())


def test_no_array_holds_the_logits_of_all_positions(monkeypatch):
    monkeypatch.setattr(output_layer, "ROWS", 3)
    floats, given = example()
    step = jax.grad(lambda *args: in_parts("float32", *args)[0], argnums=(0, 1, 2))
    sizes = {
        int(np.prod(value.aval.shape)) for value in values_of(jax.make_jaxpr(step)(*floats, *given).jaxpr)
    }
    assert max(sizes) < BATCH * LENGTH * VOCAB


def values_of(jaxpr):
    """Everything that a trace and what it calls compute."""
    for eqn in jaxpr.eqns:
        yield from eqn.outvars
        for parameter in eqn.params.values():
            inner = getattr(parameter, "jaxpr", None)
            yield from values_of(inner) if inner is not None else ()
