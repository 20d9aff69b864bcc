"""Loss and gradient of every family do not depend on how a batch is cut and spread over devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from emnat_jax.config import CTCOptions, VanillaOptions
from emnat_jax.families import FAMILIES, in_loss_family, make_family, training_family
from emnat_jax.runtime.mesh import to_global, use_layout
from emnat_jax.training.state import TrainState, state_shardings
from emnat_jax.training.step import make_train_step
from emnat_jax.types import EOS, Mean
from tests import tiny
from tests.quick import quick
from tests.training import runs

OFF = {"dropout": 0.0}  # where a mask falls depends on the shape of the batch
GROUPS = "vanilla, E-step inside the loss"
DEEP = {  # a loss after each of two layers
    "vanilla, deep": VanillaOptions(deep_supervision=True, decoder_input="source"),
    "ctc, deep": CTCOptions(deep_supervision=True),
}
NGRAM = ("ctc, n-grams", "dag, n-grams")
NAMES = [*FAMILIES, GROUPS, *DEEP, *NGRAM]
CUTS = [  # micro-batches, devices
    (4, 4),
    *(pytest.param(*cut, marks=pytest.mark.slow) for cut in ((1, 4), (2, 1), (2, 4), (4, 1))),
]


@pytest.fixture(autouse=True)
def _places_by_rule(monkeypatch):
    """The same tokens of a row are hidden or shown in every batch: the first ones, half of them."""

    def first(key, eligible, count):
        return eligible & (jnp.cumsum(eligible, axis=-1) <= count[:, None])

    monkeypatch.setattr("emnat_jax.families.cmlm.random_subset", first)
    monkeypatch.setattr("emnat_jax.families.cmlm.uniform_count", lambda key, limit: (limit + 1) // 2)
    monkeypatch.setattr("emnat_jax.losses.glance.random_subset", first)


def rows():
    """16 rows, short ones first; of different weight, fillers among them, and one without a word."""
    lengths = [1, 2, 2, 2, 2, 3, 2, 3, 3, 4, 4, 4, 4, 4, 3, 4]
    random = np.random.default_rng(0)

    def sentence(length):
        return [*random.choice(tiny.WORDS, length - 1).tolist(), EOS]

    sources = [sentence(max(length, 2)) for length in lengths[::2] for _ in range(2)]  # two targets each
    weight = np.array([1, 0.5, 1, 1, 0.2, 1, 1, 1, 1, 1, 0.3, 1, 0, 0, 0, 0], np.float32)
    return tiny.batch_of(sources, [sentence(length) for length in lengths]).replace(weight=weight)


def family_of(name):
    if name == GROUPS:
        return in_loss_family(tiny.model("vanilla", **OFF), 2)
    if name in NGRAM:
        return training_family(tiny.model(base_of(name), **OFF), "ngram")
    return make_family(tiny.model(base_of(name), DEEP.get(name), **OFF))


def base_of(name):
    return name.partition(",")[0]


def params_of(name):
    return tiny.params(base_of(name), **OFF)


def stepped(name, accumulate, devices):
    """Gradient and metrics of a training step."""
    family, params, layout = family_of(name), params_of(name), runs.layout(devices)
    tx = optax.trace(decay=0.0)  # its state is the gradient
    shardings = state_shardings(family.axes, tx, layout, ema=False)
    with use_layout(layout):
        step = make_train_step(family.loss, tx, shardings, accumulate=accumulate, ema_decay=None)
        state = TrainState(jnp.zeros((), jnp.int32), params, tx.init(params), None)
        batch = to_global(layout, rows(), accumulate=accumulate)
        state, metrics = step(jax.device_put(jax.device_get(state), shardings), batch, jax.random.key(1))
    return jax.device_get((state.opt_state.trace, metrics))


@functools.cache
def whole(name):
    return stepped(name, 1, 1)


@pytest.mark.parametrize("name", quick(NAMES, ["ctc"]))  # it has the parts of the others' losses
@pytest.mark.parametrize(("accumulate", "devices"), CUTS)
def test_gradient_and_loss_are_those_of_the_whole_batch(name, accumulate, devices):
    (wanted, metrics), (found, of_parts) = whole(name), stepped(name, accumulate, devices)
    rounding = 1e-6 * float(optax.tree.norm(wanted))
    for (path, a), b in zip(jax.tree.leaves_with_path(wanted), jax.tree.leaves(found), strict=True):
        # Sums in another order: 1.4e-5 for `ctc`. A part with a wrong weight shows in percents.
        assert np.linalg.norm(a - b) <= 5e-5 * np.linalg.norm(a) + rounding, jax.tree_util.keystr(path)
    for metric in metrics.keys() - {"param_norm"}:
        np.testing.assert_allclose(of_parts[metric], metrics[metric], rtol=1e-5, err_msg=metric)


@pytest.mark.parametrize("name", quick(FAMILIES, ("ctc", "cmlm")))
def test_valid_loss_is_that_of_any_cut(name):
    batch, params, family = rows(), params_of(name), family_of(name)
    evaluate = jax.jit(lambda batch: family.loss(params, batch, None, 0.0))

    def pooled(size):
        parts = jax.tree.map(lambda x: x.reshape(16 // size, size, *x.shape[1:]), batch)
        found = [evaluate(jax.tree.map(lambda x, i=i: x[i], parts)) for i in range(16 // size)]
        losses = [jax.device_get(metrics["loss"]) for _, metrics in found]
        return functools.reduce(Mean.merge, losses).value(), found[0][0]

    loss, scalar = pooled(16)
    np.testing.assert_allclose(scalar, loss, rtol=1e-6)
    for size in (8, 2):
        np.testing.assert_allclose(pooled(size)[0], loss, rtol=1e-5)
