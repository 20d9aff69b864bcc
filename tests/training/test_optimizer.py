"""Schedules and the optimiser."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from emnat_jax.config import OptimConfig
from emnat_jax.training import optimizer
from tests import tiny_family


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 2.470529e-07),
        (99, 2.470529e-05),
        (999, 2.470529e-04),
        (3999, 9.882118e-04),
        (15999, 4.941059e-04),
        (63999, 2.470529e-04),
        (119999, 1.804220e-04),
    ],
)
def test_paper_schedule_iwslt(step, rate):
    """docs/method.md, section 13.7."""
    np.testing.assert_allclose(optimizer.paper_schedule(0.1)(step), rate, rtol=1e-6)


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 1.235265e-07),
        (799, 1.246073e-05),
        (7999, 1.236346e-04),
        (31999, 4.940519e-04),
        (127999, 2.470462e-04),
        (999999, 8.838804e-05),
    ],
)
def test_paper_schedule_wmt(step, rate):
    """docs/method.md, section 13.7, steps counted in micro-batches."""
    np.testing.assert_allclose(optimizer.paper_schedule(0.05)(step / 8), rate, rtol=1e-6)


def test_inverse_sqrt_schedule():
    schedule = optimizer.inverse_sqrt_schedule(2e-3, 400)
    steps = np.array([0, 99, 399, 1599])
    np.testing.assert_allclose([schedule(step) for step in steps], [2e-3 / 400, 5e-4, 2e-3, 1e-3], rtol=1e-6)


def test_cosine_schedule_peaks_after_warmup_and_ends_at_a_hundredth():
    schedule = optimizer.cosine_schedule(1.0, 10, 110)
    rates = [float(schedule(step)) for step in (0, 9, 59, 109, 500)]
    np.testing.assert_allclose(rates, [0.1, 1.0, 0.505, 0.01, 0.01], rtol=1e-5)


def test_schedules_take_traced_steps():
    for name in ("inverse_sqrt", "cosine", "paper"):
        schedule = optimizer.make_schedule(OptimConfig(schedule=name, warmup_steps=5), 20)
        np.testing.assert_allclose(jax.jit(schedule)(jnp.int32(7)), schedule(7), rtol=1e-6)


def test_matrices_are_decayed_and_nothing_else():
    axes = {
        "encoder": {
            "attention": {"kernel": ("layers", "embed", "heads", None), "bias": ("layers", "heads", None)},
            "mlp": {"kernel": ("embed", "mlp"), "bias": ("mlp",)},
            "norm": {"scale": ("layers", "embed"), "bias": ("layers", "embed")},
        },
        "tokens": ("vocab", "embed"),
        "table": ("position", "embed"),
        "positions": (None, "embed"),
        "stacked_vector": ("layers", "embed"),
    }
    assert optimizer.decay_mask(axes) == {
        "encoder": {
            "attention": {"kernel": True, "bias": False},
            "mlp": {"kernel": True, "bias": False},
            "norm": {"scale": False, "bias": False},
        },
        "tokens": True,
        "table": False,
        "positions": False,
        "stacked_vector": False,
    }


def test_update_decays_matrices_and_clips():
    """With no gradient only decay moves a parameter; a huge gradient has a norm of one after clipping."""
    config = OptimConfig(peak_lr=0.5, warmup_steps=1, weight_decay=0.1, clip_norm=1.0)
    shapes = jax.eval_shape(tiny_family.make().init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes)
    tx = optimizer.make_optimizer(config, 10, tiny_family.AXES)

    @jax.jit
    def update(scale):
        grads = jax.tree.map(lambda leaf: scale * leaf, params)
        updates, state = tx.update(grads, tx.init(params), params)
        return optax.apply_updates(params, updates), optax.tree.norm(optax.tree.get(state, "mu"))

    moved, _ = update(0.0)
    np.testing.assert_allclose(moved["tokens"], 1 - 0.5 * 0.1, rtol=1e-6)
    np.testing.assert_array_equal(moved["positions"], 1)
    np.testing.assert_array_equal(moved["output"]["bias"], 1)
    np.testing.assert_allclose(update(1e6)[1], 1 - config.b1, rtol=1e-5)
