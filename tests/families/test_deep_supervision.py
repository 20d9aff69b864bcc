"""A loss after each decoder layer, against models that end in that layer."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.config import CMLMOptions, CTCOptions, GLATOptions, VanillaOptions
from emnat_jax.families import make_family, parallel_parts
from emnat_jax.families.vocabulary import generable
from emnat_jax.models.embedding import VOCAB_MULTIPLE
from emnat_jax.models.flops import training_flops
from emnat_jax.types import EOS, HIDDEN, PAD
from tests import tiny
from tests.quick import quick

LAYERS = 3
OPTIONS = {"vanilla": VanillaOptions, "cmlm": CMLMOptions, "ctc": CTCOptions}
# The third source has too few frames for its target.
BATCH = jax.tree.map(
    jnp.asarray,
    tiny.batch_of(
        [[4, EOS], [5, 6, 4, EOS], [EOS], [6, 5, EOS]], [[5, 4, EOS], [6, 4, EOS], [4, 5, 6, EOS], [EOS]]
    ).replace(weight=np.array([1.0, 0.5, 1.0, 0.7], np.float32)),
)
HIDES = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]], bool)
LENGTH_WEIGHT, SMOOTHING = 0.1, 0.1


def model(name, layers=LAYERS, *, deep=True, **changes):
    """Without dropout; its own count of decoder layers."""
    options = OPTIONS[name](deep_supervision=deep)
    return tiny.model(name, options, decoder_layers=layers - 1, dropout=0.0, **changes)


@functools.cache
def params(name, **changes):
    return tiny.params(name, decoder_layers=LAYERS - 1, **changes)


def first_layers(params, count):
    """The parameters of a model whose decoder ends after `count` layers."""
    transformer = params["transformer"]
    decoder = {f"layers_{n}": transformer["decoder"][f"layers_{n}"] for n in range(count)}
    return {**params, "transformer": {**transformer, "decoder": decoder}}


def loss_of(spec, params):
    """What training minimises where some tokens are shown, and its metrics."""
    parts, batch = parallel_parts(spec), BATCH
    key = jax.random.key(0)  # which tells that this is training; nothing is drawn
    revealed = None
    if spec.family != "ctc":
        revealed = jnp.where(jnp.asarray(HIDES) | (batch.target == EOS), HIDDEN, batch.target)
    found = parts.predict(params, parts.encode(params, batch, key), batch, revealed, key)
    return parts.loss(found, batch, jnp.asarray(HIDES))


def measured(spec, values):
    """((loss, metrics), gradient)."""
    return jax.jit(jax.value_and_grad(lambda p: loss_of(spec, p), has_aux=True))(values)


def literal(name, params, **changes):
    """The mean over the layers of the loss of the model that ends there, from all its logits."""
    batch, losses = BATCH, []
    for count in range(1, LAYERS + 1):
        spec, own = model(name, count, deep=False, **changes), first_layers(params, count)
        parts = parallel_parts(spec)
        revealed = None
        if name != "ctc":
            revealed = jnp.where(jnp.asarray(HIDES) | (batch.target == EOS), HIDDEN, batch.target)
        found = parts.predict(own, parts.encode(own, batch, None), batch, revealed, None)
        losses.append((_of_alignments if name == "ctc" else _of_positions)(spec, parts, found, batch))
    return sum(losses) / LAYERS


def _of_alignments(spec, parts, found, batch):
    log_prob, weight = parts.log_prob(found, batch.target), batch.weight * np.array([1, 1, 0, 1])
    tokens = jnp.sum(batch.target != PAD, axis=1)
    return jnp.sum(-log_prob * weight) / jnp.sum(tokens * weight)


def _of_positions(spec, parts, found, batch):
    allowed = generable(spec.transformer, eos=False)
    log_probs = jax.nn.log_softmax(found.tokens())[..., np.flatnonzero(allowed)]
    wanted = jax.nn.one_hot(jnp.searchsorted(np.flatnonzero(allowed), batch.target), allowed.sum())
    wanted = (1 - SMOOTHING) * wanted + SMOOTHING / allowed.sum()
    counted = HIDES & (np.asarray(BATCH.target) != EOS) & (np.asarray(BATCH.target) != PAD)
    token = -jnp.sum(log_probs * wanted, axis=-1)
    lengths = jnp.sum(batch.target != PAD, axis=1)
    of_lengths = jax.nn.log_softmax(found.lengths[:, 1:])
    wanted = (1 - SMOOTHING) * jax.nn.one_hot(lengths - 1, tiny.MAX_LENGTH) + SMOOTHING / tiny.MAX_LENGTH
    length = -jnp.sum(of_lengths * wanted, axis=-1)
    of_row = np.maximum(counted.sum(axis=1), 1) * BATCH.weight
    total = jnp.sum(token * counted * BATCH.weight[:, None]) + LENGTH_WEIGHT * jnp.sum(length * of_row)
    return total / of_row.sum()


def stacked(params):
    """The same of a model that scans over its layers."""
    transformer = dict(params["transformer"])
    for stack in ("encoder", "decoder"):
        layers = [transformer[stack][f"layers_{n}"] for n in range(len(transformer[stack]))]
        transformer[stack] = {"layers": jax.tree.map(lambda *x: jnp.stack(x), *layers)}
    return {**params, "transformer": transformer}


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        ("vanilla", "pre"),
        *(pytest.param(*x, marks=pytest.mark.slow) for x in (("ctc", "pre"), ("vanilla", "post"))),
    ],
)
def test_loss_and_gradient_are_the_mean_of_those_after_each_layer(name, norm):
    values, spec = params(name, norm=norm), model(name, norm=norm)
    (found, _), gradient = measured(spec, values)
    wanted, by_hand = jax.jit(jax.value_and_grad(lambda p: literal(name, p, norm=norm)))(values)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    chex.assert_trees_all_close(gradient, by_hand, rtol=1e-4, atol=2e-5)
    (plain, metrics), (_, of_deep) = (
        measured(model(name, deep=d, norm=norm), values)[0] for d in (False, True)
    )
    assert abs(found - plain) > 1e-2
    for other in metrics.keys() - {"loss"}:
        chex.assert_trees_all_close(of_deep[other], metrics[other], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vanilla", "ctc"])
def test_scanned_and_recomputed_layers_have_the_same_loss_and_gradient(name):
    values = params(name)
    (plain, _), gradient = measured(model(name), values)
    (again, _), recomputed = measured(model(name, remat=True), values)
    (scanned, _), of_stack = measured(model(name, remat=True, scan_layers=True), stacked(values))
    np.testing.assert_allclose([again, scanned], plain, rtol=1e-5)
    chex.assert_trees_all_close(recomputed, gradient, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(of_stack, stacked(gradient), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", quick(["vanilla", "ctc"], ["vanilla"]))
def test_one_layer_has_the_plain_loss(name):
    values = first_layers(params(name), 1)
    deep, plain = (measured(model(name, 1, deep=deep), values) for deep in (True, False))
    chex.assert_trees_all_equal(deep, plain)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cmlm", "ctc"])
def test_evaluation_scores_and_outputs_are_those_of_the_last_layer(name):
    deep, plain = (make_family(model(name, deep=deep)) for deep in (True, False))
    values, source = params(name), jnp.asarray(BATCH.source)
    for key, is_same in ((None, True), (jax.random.key(0), False)):
        losses = [jax.jit(family.loss)(values, BATCH, key, 0.0)[0] for family in (deep, plain)]
        assert (losses[0] == losses[1]) == is_same
    chex.assert_trees_all_equal(*(jax.jit(family.score)(values, BATCH) for family in (deep, plain)))
    found = [
        jax.jit(family.decode, static_argnums=3)(values, source, jax.random.key(0), 1)
        for family in (deep, plain)
    ]
    chex.assert_trees_all_equal(*found)


@pytest.mark.parametrize("base", quick(["vanilla", "ctc"], ["ctc"]))
def test_glancing_has_the_deep_loss_of_its_base(base):
    """With nothing shown, which leaves the second pass that of the base."""
    options = GLATOptions(
        base=base, base_options=OPTIONS[base](deep_supervision=True), start_ratio=0.0, end_ratio=0.0
    )
    glancing = make_family(tiny.model("glat", options, decoder_layers=LAYERS - 1, dropout=0.0))
    plain, key = make_family(model(base)), jax.random.key(0)
    found, wanted = (jax.jit(f.loss)(params(base), BATCH, key, 0.0)[0] for f in (glancing, plain))
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_the_output_layer_is_counted_once_for_each_layer():
    deep, plain = (training_flops(model("vanilla", deep=deep), 5, 7, 11) for deep in (True, False))
    assert deep - plain == 6 * 5 * 11 * 16 * VOCAB_MULTIPLE * (LAYERS - 1)
