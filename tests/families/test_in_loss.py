"""The E-step inside the loss: shares by hand and by automatic differentiation, and every family with it."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.errors import UserError
from emnat_jax.families import in_loss_family, parallel_parts
from emnat_jax.families.in_loss import SOFT, in_loss_e_step, responsibilities
from emnat_jax.families.parallel import marginal_loss
from emnat_jax.types import EOS
from tests import tiny
from tests.quick import quick

LOSSES = np.array([[2.0, 2.5, 4.0]])
EQUAL = np.full((1, 3), 1 / 3)
STUDENTS = ["cmlm", "glat"]  # those with a loss of their own; vanilla, ctc and dag: the test of gradients


def at(progress: float, shares=EQUAL) -> np.ndarray:
    return np.asarray(responsibilities(jnp.asarray(-LOSSES), jnp.asarray(shares), jnp.asarray(progress)))


def test_worked_shares():
    """docs/method.md, section 13.8."""
    np.testing.assert_allclose(at(0.0), EQUAL, atol=1e-6)
    np.testing.assert_allclose(at(SOFT), [[0.574097, 0.348207, 0.077696]], atol=1e-6)
    np.testing.assert_allclose(at(1.0), [[1.0, 0.0, 0.0]], atol=1e-6)


@pytest.mark.parametrize("progress", [0.0, 0.3, SOFT, 0.8, 1.0])
def test_shares_are_the_gradient_of_the_annealed_loss(progress):
    shares = np.array([[0.5, 0.2, 0.3]])

    def annealed(losses):
        mean = jnp.sum(shares * losses)
        soft = -jax.nn.logsumexp(jnp.log(shares) - losses)
        a, b = min(progress / SOFT, 1.0), max((progress - SOFT) / (1 - SOFT), 0.0)
        return (1 - b) * ((1 - a) * mean + a * soft) + b * jnp.min(losses - jnp.log(shares))

    np.testing.assert_allclose(at(progress, shares), jax.grad(annealed)(jnp.asarray(LOSSES)), atol=1e-6)


@pytest.mark.parametrize("equal", [False, True])
def test_the_best_at_the_end_has_the_largest_posterior(equal):
    """A prior holds to the end: only with equal shares the model alone decides."""
    log_prob = jnp.array([[-5.0, -4.9]])
    shares = jnp.array([[0.5, 0.5]] if equal else [[0.999, 0.001]])
    best = [[0.0, 1.0]] if equal else [[1.0, 0.0]]
    np.testing.assert_allclose(responsibilities(log_prob, shares, jnp.asarray(1.0)), best, atol=1e-6)


def test_slots_without_a_target_and_fillers_count_nothing():
    log_prob = jnp.array([[-9.0, 0.0, -8.0], [-1.0, -2.0, -3.0], [-1e9, -5.0, 0.0]])
    shares = jnp.array([[0.5, 0.0, 0.5], [0.0, 0.0, 0.0], [0.25, 0.25, 0.0]])
    for progress in (0.0, 0.4, SOFT, 0.9, 1.0):
        found = np.asarray(responsibilities(log_prob, shares, jnp.asarray(progress)))
        assert np.isfinite(found).all() and (found[np.asarray(shares) == 0] == 0).all()
        np.testing.assert_allclose(found.sum(axis=1), [1.0, 0.0, 0.5], atol=1e-6)
    np.testing.assert_allclose(found, [[0, 0, 1], [0, 0, 0], [0, 0.5, 0]], atol=1e-6)


def grouped():
    """Two sources with three targets each, the last of the second missing."""
    sources = [[4, 5, 6, EOS]] * 3 + [[6, 4, EOS]] * 3
    targets = [[5, EOS], [6, 5, EOS], [4, EOS], [6, EOS], [5, 4, EOS], [6, EOS]]
    batch = tiny.batch_of(sources, targets)
    batch = batch.replace(weight=np.array([1 / 3] * 3 + [0.5, 0.5, 0.0], np.float32))
    return jax.tree.map(jnp.asarray, batch)


@pytest.mark.parametrize("name", quick(["vanilla", "ctc", "dag"], ["ctc"]))
def test_the_posterior_gives_the_gradient_of_the_log_sum_exp(name):
    """Against automatic differentiation of -log sum_k w_k p(y_k | x), smoothing and dropout off."""
    off = {"dropout": 0.0, "attention_dropout": 0.0, "ff_dropout": 0.0, "label_smoothing": 0.0}
    params, batch, parts = tiny.params(name, **off), grouped(), parallel_parts(tiny.model(name, **off))
    family = in_loss_family(tiny.model(name, **off), 3)
    if (
        name == "vanilla"
    ):  # its own loss weighs length and tokens apart, so only the direction of the shares is compared
        family = family._replace(loss=_exact(parts))
    tokens = jnp.sum(batch.target != 0, axis=-1)

    def wanted(params):
        memory = parts.encode(params, batch, None)
        log_prob = parts.log_prob(parts.predict(params, memory, batch, None, None), batch.target).reshape(
            -1, 3
        )
        shares = jnp.asarray(batch.weight).reshape(-1, 3)
        soft = jax.nn.logsumexp(log_prob + jnp.log(jnp.maximum(shares, 1e-30)), axis=1)
        weight = jax.lax.stop_gradient(responsibilities(log_prob, shares, jnp.asarray(SOFT)))
        return -jnp.sum(soft) / jnp.sum(weight * tokens.reshape(-1, 3))

    found = jax.jit(jax.grad(lambda p: family.loss(p, batch, jax.random.key(0), SOFT)[0]))(params)
    chex.assert_trees_all_close(found, jax.jit(jax.grad(wanted))(params), rtol=2e-3, atol=2e-5)


def _exact(parts):
    """The loss of the whole score, in the place of the family's own."""

    def make(parts):
        def loss(params, batch, key, progress):
            memory = parts.encode(params, batch, None)
            return marginal_loss(
                parts.log_prob(parts.predict(params, memory, batch, None, None), batch.target), batch
            )

        return loss

    return in_loss_e_step(parts._replace(make_loss=make), 3)


@pytest.mark.parametrize("name", quick(STUDENTS, ["cmlm"]))
def test_every_student_learns_from_groups(name):
    config, params, batch = tiny.model(name), tiny.params(name), grouped()
    family = in_loss_family(config, 3)
    learn = jax.jit(
        jax.value_and_grad(lambda p, at: family.loss(p, batch, jax.random.key(1), at), has_aux=True)
    )
    for progress in (0.0, 0.5, 0.97):
        (value, metrics), gradient = learn(params, progress)
        assert np.isfinite(value) and 1 / 3 < metrics["largest_share"].value() <= 1 + 1e-6
        chex.assert_tree_all_finite(gradient)


@pytest.mark.parametrize("name, passes", [("vanilla", 6), ("ctc", 2), ("dag", 2), ("glat", 6)])
def test_each_source_is_seen_once_where_the_pass_does_not_depend_on_the_target(name, passes):
    """By the decoder; by the encoder in any case."""
    encoded, decoded = [], []
    parts = parallel_parts(tiny.model(name))

    def encode(params, batch, key):
        encoded.append(batch.source.shape[0])
        return parts.encode(params, batch, key)

    def predict(params, memory, batch, revealed, key):
        decoded.append(batch.source.shape[0])
        return parts.predict(params, memory, batch, revealed, key)

    loss = in_loss_e_step(parts._replace(encode=encode, predict=predict), 3)
    params, single = tiny.params(name), jax.tree.map(jnp.asarray, tiny.batch())
    jax.eval_shape(lambda params: loss(params, grouped(), jax.random.key(0), 0), params)
    assert set(encoded) == {2} and set(decoded) == {passes}
    encoded.clear()
    jax.eval_shape(lambda params: loss(params, single, None, 0), params)
    assert encoded == [8]  # evaluation has single targets


def test_the_teacher_has_no_e_step_in_its_loss():
    with pytest.raises(UserError, match="for students"):
        in_loss_family(tiny.model("ar"), 2)
