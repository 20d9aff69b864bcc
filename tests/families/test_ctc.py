"""The CTC family against all alignments of its own frames."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.config import CTCOptions
from emnat_jax.errors import UserError
from emnat_jax.families import make_family, parallel_parts
from emnat_jax.types import BLANK, EOS, NEG_INF, PAD
from tests import brute_force, tiny
from tests.families import tables

SOURCES = [[4, EOS], [EOS], [5, 6, EOS], [6, 6, EOS]]  # 4, 2, 6 and 6 frames
UNREACHABLE = (4, 4, 4, 4, EOS)  # takes seven frames, for a blank stands between equals
OUTPUTS = tiny.all_targets(tiny.MAX_LENGTH)


@functools.cache
def prediction():
    """What the frames of SOURCES say."""
    batch = jax.tree.map(jnp.asarray, tiny.batch_of(SOURCES, [[EOS]] * len(SOURCES)))

    def predict(params):
        parts = parallel_parts(tiny.model("ctc"))
        return parts.predict(params, parts.encode(params, batch, None), batch, None, None)

    return jax.device_get(jax.jit(predict)(tiny.params("ctc")))


@functools.cache
def log_probs(row):
    """Of every output of a source, longer ones than `decode` gives too."""
    return tables.ctc_outputs(prediction(), row)


def test_score_is_the_sum_over_all_alignments():
    """In one batch of sources of different lengths."""
    targets = tiny.all_targets(5)
    rows = [(row, target) for row in range(len(SOURCES)) for target in targets]
    batch = tiny.batch_of([SOURCES[row] for row, _ in rows], [target for _, target in rows])
    found = np.asarray(tiny.jitted("ctc", "score")(tiny.params("ctc"), batch))
    wanted = np.array([log_probs(row).get(target, NEG_INF) for row, target in rows])
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert (found[wanted == NEG_INF] == np.float32(NEG_INF)).all() and (wanted == NEG_INF).any()


def decoded(config, count=1):
    decode = jax.jit(make_family(config).decode, static_argnums=3)
    source = jnp.asarray(tiny.pad(SOURCES, tiny.MAX_LENGTH))
    return jax.device_get(decode(tiny.params("ctc"), source, jax.random.key(0), count))


def hypotheses(found, row):
    """The filled slots of a row: (tokens, log_prob, rank_score)."""
    return [
        (tuple(tokens[tokens != PAD].tolist()), log_prob, rank)
        for tokens, log_prob, rank in zip(found.tokens[row], found.log_prob[row], found.rank_score[row])
        if rank > NEG_INF / 2
    ]


@pytest.mark.parametrize("reward", [0.0, 2.5, -2.5])
def test_greedy_collapses_the_best_token_of_each_frame(reward):
    """The reward is added to all tokens but the blank, and is no part of the score."""
    found = decoded(tiny.model("ctc", CTCOptions(decoder="greedy", length_reward=reward)))
    paths = {shift: [best_frames(row, shift) for row in range(len(SOURCES))] for shift in (0.0, reward)}
    assert reward == 0 or paths[0.0] != paths[reward]
    for row in range(len(SOURCES)):
        path = paths[reward][row]
        words = brute_force.collapsed(path)[: tiny.MAX_LENGTH - 1]
        [(tokens, log_prob, rank)] = hypotheses(found, row)
        assert tokens == (*words, EOS)
        np.testing.assert_allclose(log_prob, log_probs(row)[tokens], rtol=1e-4, atol=1e-5)
        assert rank == log_prob


def best_frames(row, reward):
    """The best token of each frame of a source."""
    table = tables.frames(prediction(), row).copy()
    table[:, np.arange(table.shape[1]) != BLANK] += reward
    return tuple(np.argmax(table, axis=-1).tolist())


@pytest.mark.parametrize("reward, count", [(1.5, len(OUTPUTS)), (0.0, 1)])
def test_a_beam_of_all_outputs_has_the_n_best(reward, count):
    model = tiny.model("ctc", CTCOptions(beam=len(OUTPUTS), length_reward=reward))
    found = decoded(model.with_decoder("beam"), count)
    for row in range(len(SOURCES)):
        table = {t: v for t, v in log_probs(row).items() if len(t) <= tiny.MAX_LENGTH}
        order = sorted(table, key=lambda t: -(table[t] + reward * len(t)))
        slots = hypotheses(found, row)
        assert [tokens for tokens, _, _ in slots][:20] == order[: min(count, 20)]
        assert {tokens for tokens, _, _ in slots} == set(order[:count])
        wanted = np.array([(table[t], table[t] + reward * len(t)) for t, _, _ in slots])
        np.testing.assert_allclose([slot[1:] for slot in slots], wanted, rtol=1e-4, atol=1e-4)


@jax.jit
def marginal_loss(floats, prediction, batch):
    """(loss, metrics) and the gradient by what is learned of the prediction."""

    def loss(floats):
        return parallel_parts(tiny.model("ctc")).loss(prediction._replace(**floats), batch, None)

    return jax.value_and_grad(loss, has_aux=True)(floats)


def of_loss(batch):
    found = jax.tree.map(jnp.asarray, prediction())
    floats = {"logits": found.logits}
    return marginal_loss(floats, found, jax.tree.map(jnp.asarray, batch))


def test_unreachable_targets_are_left_out_of_the_loss_and_counted():
    targets = [(5, 4, EOS), UNREACHABLE, (4, 4, 5, EOS), (EOS,)]
    batch = tiny.batch_of(SOURCES, targets).replace(weight=np.array([1.0, 0.5, 0.5, 1.0], np.float32))
    (loss, metrics), grads = of_loss(batch)
    wanted = -sum(
        w * log_probs(row)[t] for row, w, t in ((0, 1, targets[0]), (2, 0.5, targets[2]), (3, 1, targets[3]))
    )
    np.testing.assert_allclose(loss, wanted / (3 + 2 + 1), rtol=1e-4)
    assert metrics["unreachable"] == (0.5, 3.0)
    kept = batch.replace(weight=batch.weight * np.array([1, 0, 1, 1], np.float32))
    _, without = of_loss(kept)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), grads, without)


def test_a_batch_of_unreachable_targets_teaches_nothing():
    batch = tiny.batch_of(SOURCES, [UNREACHABLE] * 4)
    (loss, metrics), grads = of_loss(batch)
    assert loss == 0 and metrics["loss"] == (0.0, 0.0) and metrics["unreachable"] == (4.0, 4.0)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(grads))


def test_options_out_of_range_are_named():
    with pytest.raises(UserError, match="^decoder='viterbi'"):
        CTCOptions(decoder="viterbi")
    with pytest.raises(UserError, match="^factor=0"):
        CTCOptions(factor=0)
    with pytest.raises(UserError, match="'odd': the family ctc has greedy, beam"):
        tiny.model("ctc").with_decoder("odd")
