"""Training for n-grams: the loss of every family that has it against all its outputs; what stays as it is."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from emnat_jax.config import CTCOptions, GLATOptions
from emnat_jax.families import in_loss_family, make_family, parallel_parts, training_family
from emnat_jax.losses import bigram_f1, ctc_bigrams
from emnat_jax.types import BOS, EOS, PAD, UNK
from tests import bigrams, tiny
from tests.quick import quick

OFF = {"dropout": 0.0}
KEY = jax.random.key(0)  # tells that this is training; nothing is drawn
UNSHOWN = {"start_ratio": 0.0, "end_ratio": 0.0}
MODELS = {
    "ctc": functools.partial(tiny.model, "ctc", **OFF),
    "dag": functools.partial(tiny.model, "dag", **OFF),
    "glat": functools.partial(tiny.model, "glat", GLATOptions(base="ctc", **UNSHOWN), **OFF),
}
SOURCE = [4, EOS]  # 4 frames or vertices
# None, one word, repeats of words and of bigrams, more words than there are frames.
TARGETS = [[EOS], [4, EOS], [5, 5, EOS], [4, 5, 4, EOS], [6, 5, 6, 5, 6, 5, EOS]]
LONGEST = 5  # tokens of what can come out of four frames


def params_of(name):
    return tiny.params("ctc" if name == "glat" else name, **OFF)


def batch_of(targets, weight=None):
    batch = tiny.batch_of([SOURCE] * len(targets), targets)
    if weight is not None:
        batch = batch.replace(weight=np.array(weight, np.float32))
    return jax.tree.map(jnp.asarray, batch)


@functools.cache
def loss_of(name):
    return jax.jit(training_family(MODELS[name](), "ngram").loss)


@functools.cache
def expected_of(name):
    """Mean count of each bigram of the outputs for SOURCE, by all outputs and their probabilities."""
    free = (UNK, *tiny.WORDS)
    outputs = [(*words, EOS) for n in range(LONGEST) for words in itertools.product(free, repeat=n)]
    score = jax.jit(make_family(MODELS[name]()).score)
    probs = np.exp(score(params_of(name), batch_of([list(output) for output in outputs])))
    np.testing.assert_allclose(probs.sum(), 1.0, rtol=1e-5)
    return bigrams.expected_bigrams({(BOS, *o): float(p) for o, p in zip(outputs, probs, strict=True)})


def quality(name, target):
    expected = expected_of(name)
    matched, total = bigrams.matched_bigrams(expected, (BOS, *target)), sum(expected.values())
    if name == "dag":
        return matched / total * np.exp(min(0.0, 1 - len(target) / total))
    return 2 * matched / (total + len(target))


@pytest.mark.parametrize("name", quick(MODELS, ["ctc", "dag"]))
def test_loss_is_that_of_all_outputs(name):
    found = [loss_of(name)(params_of(name), batch_of([target] * 2), KEY, 0)[0] for target in TARGETS]
    wanted = [1 - quality(name, target) for target in TARGETS]
    np.testing.assert_allclose(found, wanted, rtol=2e-5)
    assert np.ptp(wanted) > 0.05


@pytest.mark.parametrize("name", ["ctc", "dag"])
def test_rows_count_by_their_tokens_and_weights(name):
    weight = np.array([1.0, 0.5, 0.0, 1.0, 0.7])
    value, metrics = loss_of(name)(params_of(name), batch_of(TARGETS, weight), KEY, 0)
    lengths = np.array([len(target) for target in TARGETS])
    losses = [1 - quality(name, target) for target in TARGETS]
    np.testing.assert_allclose(value, np.average(losses, weights=weight * lengths), rtol=2e-5)
    np.testing.assert_allclose(metrics["loss"].weight, np.sum(weight * lengths), rtol=1e-6)
    expected = expected_of(name)
    matched = np.dot(weight, [bigrams.matched_bigrams(expected, (BOS, *target)) for target in TARGETS])
    found = [metrics[f"bigram_{measure}"].value() for measure in ("precision", "recall")]
    wanted = [matched / (weight.sum() * sum(expected.values())), matched / np.dot(weight, lengths)]
    np.testing.assert_allclose(found, wanted, rtol=2e-5)


@pytest.mark.parametrize("name", quick(["ctc", "dag"], ["dag"]))
def test_padding_and_fillers_do_not_matter(name):
    narrow = batch_of(TARGETS)
    filler = jax.tree.map(lambda x: x[:1], narrow).replace(weight=jnp.zeros(1))
    empty = filler.replace(target=jnp.full_like(filler.target, PAD))
    wide = jax.tree.map(lambda *x: jnp.concatenate(x), tiny.widen(narrow), *map(tiny.widen, (filler, empty)))
    learn = jax.jit(jax.value_and_grad(training_family(MODELS[name](), "ngram").loss, has_aux=True))
    (found, metrics), gradient = learn(params_of(name), narrow, KEY, 0)
    (again, of_wide), of_gradient = learn(params_of(name), wide, KEY, 0)
    np.testing.assert_allclose(found, again, rtol=1e-5)
    chex.assert_trees_all_close(metrics, of_wide, rtol=1e-5)
    chex.assert_trees_all_close(gradient, of_gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_the_loss_is_the_mean_over_the_layers_that_have_one():
    options = CTCOptions(deep_supervision=True)
    deep = tiny.model("ctc", options, decoder_layers=2, **OFF)
    params, batch = tiny.params("ctc", decoder_layers=2, **OFF), batch_of(TARGETS)
    found, _ = jax.jit(training_family(deep, "ngram").loss)(params, batch, KEY, 0)
    parts = parallel_parts(deep)
    prediction = jax.jit(lambda p: parts.predict(p, parts.encode(p, batch, KEY), batch, None, KEY))(params)
    below = [prediction.lower.output.logits(states) for states in prediction.lower.states]
    assert len(below) == 2
    lengths = jnp.sum(batch.target != PAD, axis=1)
    f1 = [
        bigram_f1(ctc_bigrams(logits, prediction.frames, batch.target, lengths - 1))
        for logits in (*below, prediction.logits)
    ]
    np.testing.assert_allclose(found, np.average(1 - np.mean(f1, axis=0), weights=lengths), rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_evaluation_is_that_of_the_likelihood(name):
    params, batch = params_of(name), batch_of(TARGETS)
    plain = jax.jit(make_family(MODELS[name]()).loss)(params, batch, None, 0)
    chex.assert_trees_all_close(loss_of(name)(params, batch, None, 0), plain, rtol=1e-6)


def test_glancing_stays():
    """What is shown changes the pass, and the share of it is counted."""
    model = tiny.model("glat", GLATOptions(base="ctc", start_ratio=1.0, end_ratio=1.0), **OFF)
    params, batch = params_of("glat"), batch_of(TARGETS)
    value, metrics = jax.jit(training_family(model, "ngram").loss)(params, batch, KEY, 0)
    assert metrics["glanced"].value() > 0
    assert value != loss_of("glat")(params, batch, KEY, 0)[0]


def test_several_targets_of_a_source_count_by_their_shares():
    """At the first step, where the shares are those of the batch."""
    shares = [0.2, 0.8, 0.5, 0.5]
    batch, params = batch_of(TARGETS[:4], shares), params_of("ctc")
    together = jax.jit(in_loss_family(MODELS["ctc"](), 2, "ngram").loss)(params, batch, KEY, 0)
    alone = loss_of("ctc")(params, batch, KEY, 0)
    np.testing.assert_allclose(together[0], alone[0], rtol=1e-5)
    assert "largest_share" in together[1] and "bigram_recall" in together[1]


def trained(family, params, batch, steps):
    """The parameters after some steps, and the loss before each of them."""
    tx, losses = optax.adam(0.01), []

    @jax.jit
    def step(params, state):
        (loss, _), gradient = jax.value_and_grad(family.loss, has_aux=True)(params, batch, KEY, 0)
        updates, state = tx.update(gradient, state)
        return optax.apply_updates(params, updates), state, loss

    state = tx.init(params)
    for _ in range(steps):
        params, state, loss = step(params, state)
        losses.append(float(loss))
    return params, losses


@pytest.mark.parametrize(("name", "steps"), quick([("ctc", 10), ("dag", 2)], []))
def test_fine_tuning_moves_the_bigrams_of_outputs_to_those_of_the_target(name, steps):
    """After a little of the likelihood, without which `ctc` ends here where half of the bigrams match."""
    model, batch = MODELS[name](), batch_of([[5, 6, EOS]])
    begun, _ = trained(make_family(model), params_of(name), batch, steps)
    family = training_family(model, "ngram")
    params, losses = trained(family, begun, batch, 40)
    assert losses[0] > 0.3 and losses[-1] < 0.05
    decode = jax.jit(family.decode, static_argnums=3)
    assert decode(params, batch.source, KEY, 1).tokens[0, 0, :3].tolist() == [5, 6, EOS]
