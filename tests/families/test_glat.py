"""Glancing over each base: what is shown, what is counted, and what stays the base's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.config import GLATOptions
from emnat_jax.errors import UserError
from emnat_jax.families import make_family, parallel_parts, vanilla
from emnat_jax.types import EOS, HIDDEN, PAD, UNK
from tests import brute_force, tiny
from tests.families import tables
from tests.families.watched import watched_loss
from tests.quick import quick

BASES = ["vanilla", "ctc", "dag"]
ALL, HALF, NOTHING = 0.0, 0.25, 0.5  # of the training: 1, 1/2 and 0 of the wrong positions are shown
RATIOS = dict(start_ratio=1.0, end_ratio=0.0, anneal_share=0.5)
# The last source has too few positions for its target under ctc and dag.
BATCH = tiny.batch_of(
    [[4, EOS], [5, 6, EOS], [6, EOS], [EOS]], [[5, 4, EOS], [6, 4, 4, EOS], [5, EOS], [4, 5, 6, EOS]]
).replace(weight=np.array([1.0, 0.5, 1.0, 1.0], np.float32))


def model(base):
    options = GLATOptions(base=base, base_options=tiny.OPTIONS.get(base), **RATIOS)
    return tiny.model("glat", options, dropout=0.0)


@functools.cache
def compiled(base):
    return watched_loss(model(base))


def run(base, seed, progress):
    """(loss, metrics, (first pass), (revealed, second pass)) of a training step."""
    loss, metrics, passes = jax.device_get(
        compiled(base)(tiny.params(base), BATCH, jax.random.key(seed), progress)
    )
    (unseen, first), second = passes
    assert unseen is None
    return loss, metrics, first, second


def scores(prediction):
    """Of the token at each position."""
    if isinstance(prediction, vanilla.Prediction):
        return np.asarray(jax.tree.map(jnp.asarray, prediction).tokens())
    return prediction.logits


def references(base, prediction):
    """The target on the decoder positions, by enumeration of all alignments or paths; HIDDEN elsewhere."""
    logits = scores(prediction)
    found = np.full(logits.shape[:2], HIDDEN)
    for row, padded in enumerate(BATCH.target):
        words = padded[(padded != PAD) & (padded != EOS)].tolist()
        if base == "vanilla":
            found[row, : len(words)] = words
        elif base == "ctc":
            for alignment, _ in brute_force.ctc_alignments(tables.frames(prediction, row), tuple(words))[:1]:
                found[row, : len(alignment)] = alignment
        else:
            path = tables.graph(prediction, row).best_path((*words, EOS))
            found[row, list(path[:-1])] = words if path else []
    return found


def wrong(base, prediction):
    """Number of positions of each row at which the most probable token is not the reference's."""
    reference = references(base, prediction)
    guess = np.argmax(scores(prediction), axis=-1)
    return np.sum((reference != HIDDEN) & (guess != reference), axis=-1)


@pytest.mark.parametrize("base", BASES)
def test_the_reference_is_the_best_alignment(base):
    _, _, first, _ = run(base, 0, ALL)
    found = jax.jit(parallel_parts(model(base)).reference)(first, BATCH)
    np.testing.assert_array_equal(found, references(base, first))
    assert (found[3] == HIDDEN).all() == (base != "vanilla")  # nothing to show of an unreachable target


@pytest.mark.parametrize("base", BASES)
def test_a_share_of_the_wrong_positions_is_shown_and_falls_as_training_goes_on(base):
    places = set()
    for seed, progress, ratio in [
        (0, ALL, 1),
        (0, HALF, 0.5),
        (1, HALF, 0.5),
        (2, HALF, 0.5),
        (0, NOTHING, 0),
    ]:
        _, metrics, first, (revealed, _) = run(base, seed, progress)
        reference, shown = references(base, first), revealed != HIDDEN
        np.testing.assert_array_equal(revealed[shown], reference[shown])
        counts = np.round(ratio * wrong(base, first))
        assert shown.sum(axis=-1).tolist() == counts.tolist()
        assert metrics["glanced"].total == np.sum(counts * BATCH.weight)
        eligible = np.sum(reference != HIDDEN, axis=-1)
        assert metrics["glanced"].weight == np.sum(eligible * BATCH.weight)
        if progress == HALF:
            places.add(shown.tobytes())
    assert len(places) > 1  # which positions are shown depends on the key


@pytest.mark.parametrize("base", BASES)
def test_without_glances_the_loss_is_that_of_the_base(base):
    loss, metrics, *_ = run(base, 0, NOTHING)
    plain, plain_metrics = tiny.jitted(base, "loss")(tiny.params(base), BATCH, None, 0)
    np.testing.assert_allclose(loss, plain, rtol=1e-6)
    for name in plain_metrics:
        np.testing.assert_allclose(metrics[name], plain_metrics[name], rtol=1e-6)


def test_nar_counts_hidden_positions_alone():
    loss, metrics, _, (revealed, second) = run("vanilla", 0, HALF)
    tokens, lengths = tables.log_softmax(scores(second)), tables.log_softmax(second.lengths)
    total, count, length_loss = 0.0, 0.0, 0.0
    for row, (target, weight) in enumerate(zip(BATCH.target, BATCH.weight)):
        size = np.sum(target != PAD)
        hidden = [t for t in range(size - 1) if revealed[row, t] == HIDDEN]
        allowed = np.mean(tokens[row][:, [UNK, *tiny.WORDS]], axis=-1)
        total -= weight * sum(0.9 * tokens[row, t, target[t]] + 0.1 * allowed[t] for t in hidden)
        count += weight * len(hidden)
        of_length = 0.9 * lengths[row, size] + 0.1 * np.mean(lengths[row, 1:5])
        length_loss -= weight * len(hidden) * of_length
        assert hidden
    assert (revealed != HIDDEN).sum() > 0
    np.testing.assert_allclose(loss, (total + 0.1 * length_loss) / count, rtol=1e-4)
    np.testing.assert_allclose(metrics["nll"].weight, count)


@pytest.mark.parametrize("base", ["ctc", "dag"])
def test_marginal_losses_are_of_the_whole_target_in_the_second_pass(base):
    loss, _, _, (revealed, second) = run(base, 0, ALL)
    total, count = 0.0, 0.0
    for row in range(3):
        target = tuple(BATCH.target[row][BATCH.target[row] != PAD].tolist())
        if base == "ctc":
            value = tables.ctc_outputs(second, row)[target]
        else:
            value = tables.graph(second, row).log_prob(target)
        total -= BATCH.weight[row] * value
        count += BATCH.weight[row] * len(target)
    assert (revealed != HIDDEN).sum() > 0
    np.testing.assert_allclose(loss, total / count, rtol=1e-4)


def test_the_gradient_is_that_of_the_second_pass():
    """What is shown is held fixed; encoder and decoder learn as from any other input."""
    _, _, _, (revealed, _) = run("ctc", 0, HALF)
    parts, batch = parallel_parts(model("ctc")), jax.tree.map(jnp.asarray, BATCH)

    def with_glances(params):
        return make_family(model("ctc")).loss(params, batch, jax.random.key(0), HALF)[0]

    def second_pass(params):
        memory = parts.encode(params, batch, None)
        return parts.loss(parts.predict(params, memory, batch, jnp.asarray(revealed), None), batch, None)[0]

    def gradient(loss):
        """By the first and the last parameters that a loss runs through."""
        params = tiny.params("ctc")
        ends = {name: params["transformer"][name] for name in ("source_bias", "decoder_norm")}
        of_ends = jax.grad(lambda ends: loss(params | {"transformer": params["transformer"] | ends}))
        return jax.jit(of_ends)(ends)

    found, wanted = gradient(with_glances), gradient(second_pass)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, wanted)
    assert np.abs(found["source_bias"]).max() > 1e-3


@pytest.mark.parametrize("base", quick(BASES, ["ctc"]))
def test_evaluation_and_decoding_are_the_very_programs_of_the_base(base):
    families = [make_family(model(base)), tiny.family(base, dropout=0.0)]
    params, batch = tiny.params(base), jax.tree.map(jnp.asarray, BATCH)
    programs = [
        [
            jax.jit(lambda params, batch, family=family: family.loss(params, batch, None, 0)),
            jax.jit(lambda params, batch, family=family: family.score(params, batch)),
            jax.jit(
                lambda params, batch, family=family: family.decode(params, batch.source, jax.random.key(0), 2)
            ),
        ]
        for family in families
    ]
    for pair in zip(*programs):
        glat, plain = (program.lower(params, batch).as_text() for program in pair)
        assert glat == plain


def test_options_out_of_range_are_named():
    with pytest.raises(UserError, match="^base='cmlm'"):
        GLATOptions(base="cmlm")
    with pytest.raises(UserError, match="^end_ratio=1.5"):
        GLATOptions(end_ratio=1.5)
    with pytest.raises(UserError, match="^anneal_share=0"):
        GLATOptions(anneal_share=0.0)


def test_decoders_are_those_of_the_base():
    changed = model("dag").with_decoder("viterbi")
    assert (changed.family, changed.options.of_base.decoder) == ("glat", "viterbi")
    with pytest.raises(UserError, match="'viterbi': the family ctc has greedy, beam"):
        model("ctc").with_decoder("viterbi")
