"""The conditional masked language model against every mask; its decoder against mask-predict of one row."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.config import CMLMOptions, VanillaOptions
from emnat_jax.errors import UserError
from emnat_jax.families import make_family, parallel_parts
from emnat_jax.types import EOS, HIDDEN, NEG_INF, PAD, UNK
from tests import brute_force, tiny
from tests.families.watched import watched_loss

MODEL = tiny.model("cmlm", dropout=0.0)
GENERABLE = [UNK, *tiny.WORDS]
BATCH = tiny.batch_of([[4, EOS], [5, 6, 4, EOS], [6, 6, EOS]], [[5, 4, 6, EOS], [6, 4, EOS], [5, EOS]])


@functools.cache
def loss():
    return watched_loss(MODEL)


@jax.jit
def predict(params, batch, revealed):
    parts = parallel_parts(MODEL)
    found = parts.predict(params, parts.encode(params, batch, None), batch, revealed, None)
    return found.tokens(), found.lengths


def prediction(batch, revealed):
    """Log-probabilities of tokens f64[B, T, V] and of lengths f64[B, L], given what is shown."""
    found = jax.device_get(predict(tiny.params("cmlm"), batch, jnp.asarray(revealed)))
    return tuple(np.float64(x) - np.logaddexp.reduce(np.float64(x), axis=-1, keepdims=True) for x in found)


def smoothed(log_probs, gold, allowed):
    """Cross-entropy against 0.9 on the gold class and 0.1 spread over the allowed ones."""
    return -0.9 * log_probs[gold] - 0.1 * np.mean(log_probs[allowed])


def token_losses(tokens, batch, row, places):
    return [smoothed(tokens[row, t], batch.target[row, t], GENERABLE) for t in places]


def length_loss(lengths, batch):
    return [smoothed(x, np.sum(t != PAD), [1, 2, 3, 4]) for x, t in zip(lengths, batch.target)]


def one_row(row):
    return jax.tree.map(lambda x: x[row : row + 1], BATCH)


def test_training_loss_is_one_of_every_mask_and_uniform_over_their_sizes():
    """Three free tokens: 7 masks; each size with 1/3, each mask of a size alike."""
    batch, wanted = one_row(0), {}
    for size in (1, 2, 3):
        masks = list(itertools.combinations(range(3), size))
        for hidden in masks:
            revealed = np.where(np.isin(np.arange(4), (*hidden, 3)), HIDDEN, batch.target)
            tokens, lengths = prediction(batch, revealed)
            value = np.mean(token_losses(tokens, batch, 0, hidden)) + 0.1 * length_loss(lengths, batch)[0]
            wanted[hidden] = (value, 1 / 3 / len(masks))
    keys = jax.random.split(jax.random.key(7), 3000)
    by_key = jax.jit(jax.vmap(lambda key: loss()(tiny.params("cmlm"), batch, key, 0)[0]))
    found = np.asarray(by_key(keys), np.float64)
    hits = np.array([np.isclose(found, value, rtol=1e-4) for value, _ in wanted.values()])
    assert (hits.sum(axis=0) == 1).all()
    chance = np.array([share for _, share in wanted.values()])
    np.testing.assert_allclose(hits.mean(axis=1), chance, atol=0.03)
    mean = sum(value * share for value, share in wanted.values())
    assert abs(found.mean() - mean) < 4 * found.std() / len(keys) ** 0.5


def test_rows_are_pooled_by_their_weight_over_hidden_tokens():
    batch = BATCH.replace(weight=np.array([1.0, 0.5, 0.0], np.float32))
    value, metrics, [(revealed, _)] = loss()(tiny.params("cmlm"), batch, jax.random.key(3), 0)
    tokens, lengths = prediction(batch, revealed)
    total, count, nll, by_length = 0.0, 0.0, 0.0, length_loss(lengths, batch)
    for row, weight in enumerate(batch.weight):
        free = range(int(np.sum(batch.target[row] != PAD)) - 1)
        hidden = [t for t in free if revealed[row, t] == HIDDEN]
        total += weight * sum(
            loss + 0.1 * by_length[row] for loss in token_losses(tokens, batch, row, hidden)
        )
        nll -= weight * sum(tokens[row, t, batch.target[row, t]] for t in hidden)
        count += weight * len(hidden)
    np.testing.assert_allclose(value, total / count, rtol=1e-4)
    np.testing.assert_allclose((metrics["nll"].total, metrics["nll"].weight), (nll, count), rtol=1e-4)


def test_the_decoder_is_shown_the_target_but_for_what_it_must_predict():
    free = (BATCH.target != PAD) & (BATCH.target != EOS)
    shown = []
    for key in range(20):
        _, _, [(revealed, _)] = loss()(tiny.params("cmlm"), BATCH, jax.random.key(key), 0)
        assert ((revealed == HIDDEN) | ((revealed == BATCH.target) & free)).all()
        assert (((revealed == HIDDEN) & free).sum(axis=-1) >= 1).all()
        shown.append(np.asarray(revealed) != HIDDEN)
    np.testing.assert_array_equal(np.any(shown, axis=0).sum(axis=-1), [3, 2, 0])  # one alone is always hidden
    _, _, [(revealed, _)] = loss()(tiny.params("cmlm"), BATCH, None, 0)
    assert revealed is None


def test_hidden_tokens_do_not_leak_and_shown_ones_matter():
    """With the same key the same places are hidden, whatever tokens stand there."""
    batch = one_row(0)
    for key in (0, 1, 2, 3):
        _, _, [(revealed, before)] = loss()(tiny.params("cmlm"), batch, jax.random.key(key), 0)
        for place in range(3):
            target = batch.target.copy()
            target[0, place] = {5: 6, 4: 5, 6: 4}[int(target[0, place])]
            _, _, [(_, after)] = loss()(
                tiny.params("cmlm"), batch.replace(target=target), jax.random.key(key), 0
            )
            others = [t for t in range(3) if t != place]
            change = np.abs(after.tokens() - before.tokens())[0, others][:, GENERABLE].max()
            assert change == 0 if revealed[0, place] == HIDDEN else change > 1e-3


def test_evaluation_loss_and_score_are_of_the_fully_masked_pass():
    tokens, lengths = prediction(BATCH, np.full(BATCH.target.shape, HIDDEN))
    sizes = [int(np.sum(t != PAD)) for t in BATCH.target]
    losses = [token_losses(tokens, BATCH, row, range(n - 1)) for row, n in enumerate(sizes)]
    by_length = np.average(length_loss(lengths, BATCH), weights=[n - 1 for n in sizes])
    wanted = np.mean(np.concatenate(losses)) + 0.1 * by_length
    value, *_ = loss()(tiny.params("cmlm"), BATCH, None, 0)
    np.testing.assert_allclose(value, wanted, rtol=1e-4)
    score = tiny.jitted("cmlm", "score")(tiny.params("cmlm"), BATCH)
    by_hand = [
        lengths[row, n] + sum(tokens[row, t, BATCH.target[row, t]] for t in range(n - 1))
        for row, n in enumerate(sizes)
    ]
    np.testing.assert_allclose(score, by_hand, rtol=1e-4)
    np.testing.assert_array_equal(score, tiny.jitted("vanilla", "score")(tiny.params("cmlm"), BATCH))


@pytest.mark.parametrize("training", [False, True])
def test_targets_without_a_free_token_leave_the_length_loss(training):
    key = jax.random.key(0) if training else None
    empty = tiny.batch_of([[4, EOS], [5, 6, EOS], [6, EOS]], [[EOS]] * 3)
    value, metrics, _ = loss()(tiny.params("cmlm"), empty, key, 0)
    _, lengths = prediction(empty, np.full(empty.target.shape, HIDDEN))
    np.testing.assert_allclose(value, 0.1 * np.mean(length_loss(lengths, empty)), rtol=1e-4)
    assert metrics["nll"].total == metrics["nll"].weight == 0


def decoded(options, name="cmlm", count=3):
    family = make_family(tiny.model(name, options))
    decode = jax.jit(family.decode, static_argnums=3)
    return jax.device_get(decode(tiny.params("cmlm"), jnp.asarray(BATCH.source), jax.random.key(0), count))


def test_a_single_pass_is_the_argmax_of_each_length():
    model = tiny.model("cmlm").with_decoder("single_pass")
    assert model == tiny.model("cmlm", CMLMOptions(iterations=1))
    assert model.with_decoder("mask_predict") == model
    once = decoded(model.options)
    plain = decoded(VanillaOptions(decoder="argmax", length_candidates=3, length_penalty=1.0), "vanilla")
    np.testing.assert_array_equal(once.tokens, plain.tokens)
    np.testing.assert_allclose(once.log_prob, plain.log_prob, rtol=1e-6)
    np.testing.assert_allclose(once.rank_score, plain.rank_score, rtol=1e-6)


@pytest.mark.parametrize("iterations", [2, 4])
def test_each_length_is_refined_and_ranked_by_its_confidence(iterations):
    found = decoded(CMLMOptions(iterations=iterations, length_candidates=1, length_penalty=0.7))
    for row in range(3):
        batch, ranks = one_row(row), []
        filled = found.rank_score[row] > NEG_INF / 2
        for slot in np.flatnonzero(filled):
            length = int(np.sum(found.tokens[row, slot] != PAD))
            target = np.array([[UNK] * (length - 1) + [EOS] + [PAD] * (4 - length)], np.int32)

            def pass_of(revealed, batch=batch.replace(target=target), length=length):
                tokens, _ = prediction(batch, np.array([revealed], np.int32))
                tokens[0, length - 1] = np.where(np.arange(tokens.shape[-1]) == EOS, 0.0, NEG_INF)
                return tokens[0]

            tokens, confidence, log_prob = brute_force.mask_predict(pass_of, length, 4, iterations)
            _, lengths = prediction(batch, np.full((1, 4), HIDDEN))
            assert found.tokens[row, slot].tolist() == [*tokens, *[PAD] * (4 - length)]
            np.testing.assert_allclose(found.log_prob[row, slot], log_prob + lengths[0, length], rtol=1e-4)
            ranks.append((confidence + lengths[0, length]) / brute_force.length_penalty(length, 0.7))
        np.testing.assert_allclose(found.rank_score[row][filled], ranks, rtol=1e-4)
        assert len(ranks) > 1 and ranks == sorted(ranks, reverse=True)


def test_options_out_of_range_are_named():
    for name in ("iterations", "length_candidates"):
        with pytest.raises(UserError, match=f"^{name}=0"):
            CMLMOptions(**{name: 0})
    with pytest.raises(UserError, match="argmax.*cmlm has mask_predict, single_pass"):
        tiny.model("cmlm").with_decoder("argmax")
