"""The compiled update."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from emnat_jax.runtime.mesh import to_global, use_layout
from emnat_jax.training.optimizer import make_optimizer
from emnat_jax.training.state import create_state, inference_params, state_shardings
from emnat_jax.training.step import make_eval_step, make_train_step
from emnat_jax.types import Mean
from tests import tiny_family
from tests.training import runs

EMA = 0.5


def trained(layout, count=3, *, dropout=0.0, accumulate=1, batches=None):
    """State and metrics of each of `count` steps on `layout`."""
    family = tiny_family.make(dropout)
    tx = make_optimizer(runs.OPTIM, 10, family.axes)
    shardings = state_shardings(family.axes, tx, layout, ema=True)
    with use_layout(layout):
        step = make_train_step(family.loss, tx, shardings, accumulate=accumulate, ema_decay=EMA)
        create = functools.partial(create_state, family, tx, ema=True)
        state = jax.jit(create, out_shardings=shardings)(jax.random.key(0))
        history = []
        for number in range(count):
            batch = batches[number] if batches else tiny_family.batch(number)
            state, metrics = step(state, to_global(layout, batch, accumulate=accumulate), jax.random.key(1))
            history.append(jax.device_get((state, metrics)))
    return history


def assert_close(a, b, rtol):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-6), a, b)


def test_one_device_equals_four():
    one = trained(runs.layout(1), dropout=0.3)
    for sizes in ({}, {"fsdp": 2, "model": 2}):
        four = trained(runs.layout(4, **sizes), dropout=0.3)
        assert_close(one[-1][0].params, four[-1][0].params, rtol=1e-5)
        assert_close(one[-1][1], four[-1][1], rtol=1e-5)


def test_micro_batches_equal_one_batch():
    """The micro-batches hold 20, 10, 4 and 0 rows' worth of tokens, so plain averages would differ."""
    batch = tiny_family.batch(5)
    weight = np.array([1, 1, 1, 0, 1, 1, 0, 0], np.float32)
    batches = [batch.replace(weight=weight)] * 3
    whole = trained(runs.layout(1), batches=batches)
    micro = trained(runs.layout(1), batches=batches, accumulate=4)
    for a, b in zip(whole, micro, strict=True):
        assert_close(a[0].params, b[0].params, rtol=1e-5)
        assert_close(a[1], b[1], rtol=1e-5)


def test_average_follows_the_schedule():
    """Decay 1/10 and 2/11 in the first two steps, the configured 1/2 only from the ninth on."""
    history = trained(runs.layout(1), 10)
    states = [state for state, _ in history]
    for number, decay in ((1, 2 / 11), (2, 3 / 12), (9, EMA)):
        before, now = states[number - 1], states[number]
        expected = jax.tree.map(
            lambda old, new, keep=decay: keep * old + (1 - keep) * new, before.ema, now.params
        )
        assert_close(now.ema, expected, rtol=1e-5)
    assert inference_params(states[-1]) is states[-1].ema


def test_key_depends_on_the_step_and_evaluation_is_without_dropout():
    same = [tiny_family.batch(0)] * 2
    layout = runs.layout(1)
    family = tiny_family.make(0.5)
    tx = make_optimizer(runs.OPTIM, 10, family.axes)
    shardings = state_shardings(family.axes, tx, layout, ema=False)
    with use_layout(layout):
        step = make_train_step(family.loss, tx, shardings, accumulate=1, ema_decay=None)
        evaluate = make_eval_step(family.loss, shardings)
        start = jax.device_get(
            jax.jit(functools.partial(create_state, family, tx, ema=False))(jax.random.key(0))
        )
        losses = []
        for number in (0, 1):
            state = jax.device_put(start.replace(step=np.int32(number)), shardings)
            _, metrics = step(state, to_global(layout, same[0]), jax.random.key(1))
            losses.append(metrics["loss"].value())
        plain = evaluate(jax.device_put(start.params, shardings.params), to_global(layout, same[0]))
    assert losses[0] != losses[1]
    expected = -jax.jit(family.score)(start.params, same[0]).sum()
    np.testing.assert_allclose(plain["loss"].total, expected, rtol=1e-6)


def test_the_loss_is_told_how_much_of_the_training_is_done():
    family = tiny_family.make(0.0)

    def loss(params, batch, key, progress):
        value, metrics = family.loss(params, batch, key, progress)
        return value, metrics | {"done": Mean(progress, jnp.ones(()))}

    def told(steps, accumulate):
        tx, layout = make_optimizer(runs.OPTIM, 10, family.axes), runs.layout(1)
        shardings = state_shardings(family.axes, tx, layout, ema=False)
        with use_layout(layout):
            step = make_train_step(loss, tx, shardings, accumulate=accumulate, ema_decay=None, steps=steps)
            state, found = (
                jax.jit(functools.partial(create_state, family, tx, ema=False))(jax.random.key(0)),
                [],
            )
            for number in range(3):
                batch = to_global(layout, tiny_family.batch(number), accumulate=accumulate)
                state, metrics = step(state, batch, jax.random.key(1))
                found.append(metrics["done"].value())
        return found

    assert told(4, 1) == told(4, 2) == [0.0, 0.25, 0.5]
    assert told(None, 1) == [0.0, 0.0, 0.0]


def test_gradient_norm_is_that_of_the_mean_loss():
    family = tiny_family.make(0.0)
    batch = tiny_family.batch(0)
    params = jax.jit(family.init)(jax.random.key(0))
    grads = jax.device_get(jax.jit(jax.grad(lambda p: family.loss(p, batch, None, 0)[0]))(params))
    norm = np.sqrt(sum((leaf.astype(np.float64) ** 2).sum() for leaf in jax.tree.leaves(grads)))
    _, metrics = trained(runs.layout(1), 1, accumulate=2)[0]
    np.testing.assert_allclose(metrics["grad_norm"].total, norm, rtol=1e-5)
