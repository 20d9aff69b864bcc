"""ODD against the worked cases of docs/method.md, section 13.1 and against enumeration."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.decoding.odd import argmax_decode, odd_decode
from emnat_jax.types import NEG_INF, PAD
from tests import brute_force

decode = jax.jit(odd_decode)
CASES = 60


@pytest.mark.parametrize(
    ("probabilities", "tokens", "log_prob"),
    [
        ([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.45, 0.35, 0.2]], [0, 1, 0], -2.225624),
        ([[0.90, 0.06, 0.04], [0.40, 0.35, 0.25], [0.05, 0.90, 0.05]], [0, 2, 1], -1.597015),
        ([[0.50, 0.45, 0.05], [0.90, 0.06, 0.04], [0.34, 0.40, 0.26]], [1, 0, 1], -1.820159),
    ],
)
@pytest.mark.parametrize("penalty", [jnp.inf, 1e9, 50.0])
def test_worked_cases(probabilities, tokens, log_prob, penalty):
    found, score = decode(jnp.log(jnp.array([probabilities])), jnp.array([3]), penalty)
    np.testing.assert_array_equal(found[0], tokens)
    np.testing.assert_allclose(score[0], log_prob, atol=1e-6)


def random_log_probs(rng, length, vocab, barred=0.0):
    """Half of the cases share a bias over positions, so that repeats are tempting."""
    bias = rng.normal(size=(CASES, 1, vocab)) * 2.0 * (rng.random((CASES, 1, 1)) < 0.5)
    log_probs = np.asarray(jax.nn.log_softmax(rng.normal(size=(CASES, length, vocab)) + bias))
    masked = rng.random(log_probs.shape) < barred
    return np.where(masked, rng.choice([NEG_INF, -np.inf], size=masked.shape), log_probs).astype(np.float32)


def check(table, sequence, log_prob, penalty):
    """One decoded sequence of a table [T, V] costs what the best of all sequences costs."""
    wrong, equal, rest = brute_force.best_deduplicated(table, penalty)
    chosen = table[np.arange(len(table)), sequence].astype(np.float64)
    barred = chosen <= NEG_INF / 2
    own = brute_force.repeats(sequence[None])[0]
    assert barred.sum() == wrong
    if np.isinf(penalty):
        assert own == equal
        penalty = 0.0
    np.testing.assert_allclose(chosen[~barred].sum() - penalty * own, rest - penalty * equal, atol=2e-5)
    np.testing.assert_allclose(log_prob, chosen.sum(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("length", "vocab"), [(1, 3), (5, 1), (5, 2), (5, 3), (4, 5), (4, 6)])
@pytest.mark.parametrize("barred", [0.0, 0.4])
def test_equals_enumeration(length, vocab, barred):
    rng = np.random.default_rng(length * 10 + vocab)
    for penalty in (jnp.inf, 0.0, 0.3, 2.0):
        tables = random_log_probs(rng, length, vocab, barred)
        tokens, log_prob = jax.device_get(decode(jnp.asarray(tables), jnp.full(CASES, length), penalty))
        for row in range(CASES):
            check(tables[row], tokens[row], log_prob[row], penalty)


def test_huge_penalty_decides_like_an_infinite_one():
    rng = np.random.default_rng(0)
    for vocab in (1, 2, 3):
        log_probs = jnp.asarray(random_log_probs(rng, 5, vocab, 0.3))
        lengths = jnp.full(CASES, 5)
        chex.assert_trees_all_equal(decode(log_probs, lengths, 1e9), decode(log_probs, lengths, jnp.inf))


def test_unavoidable_repeats_keep_their_digits():
    # One repeat is forced, wherever it is; its place decides by 1e-4 nats, 1e9 has no such digit.
    log_probs = jnp.array([[[0.0, NEG_INF], [0.0, NEG_INF], [-1e-4, 0.0], [0.0, NEG_INF]]])
    for penalty in (1e9, jnp.inf):
        tokens, score = decode(log_probs, jnp.array([4]), penalty)
        np.testing.assert_array_equal(tokens[0], [0, 0, 1, 0])
        assert score[0] == 0.0
    log_probs = jnp.array([[[0.0, -1e-4], [NEG_INF, 0.0], [NEG_INF, 0.0], [-2e-4, -1e-4]]])
    tokens, score = decode(log_probs, jnp.array([4]), 1e9)
    np.testing.assert_array_equal(tokens[0], [0, 1, 1, 0])
    np.testing.assert_allclose(score[0], -2e-4, rtol=1e-6)


def test_a_last_position_of_eos_alone_is_kept():
    rng = np.random.default_rng(1)
    log_probs = random_log_probs(rng, 4, 5)
    log_probs[:, :, 1] = NEG_INF
    log_probs[:, -1] = np.where(np.arange(5) == 1, 0.0, NEG_INF)
    tokens, score = decode(jnp.asarray(log_probs), jnp.full(CASES, 4))
    assert np.all(tokens[:, -1] == 1) and np.all(tokens[:, :-1] != 1)
    free, free_score = decode(jnp.asarray(log_probs), jnp.full(CASES, 3))
    np.testing.assert_array_equal(tokens[:, :3], free[:, :3])
    np.testing.assert_allclose(score, free_score, rtol=1e-6)


def test_rows_end_at_their_length():
    tables = random_log_probs(np.random.default_rng(2), 4, 5, 0.2)
    lengths = np.arange(CASES) % 5
    for decoder, penalty in ((decode, jnp.inf), (decode, 1.0), (jax.jit(argmax_decode), 0.0)):
        extra = () if decoder is not decode else (penalty,)
        tokens, log_prob = jax.device_get(decoder(jnp.asarray(tables), jnp.asarray(lengths), *extra))
        for row, length in enumerate(lengths):
            assert np.all(tokens[row, length:] == PAD)
            check(tables[row, :length], tokens[row, :length], log_prob[row], penalty)
        assert log_prob[0] == 0.0


def test_argmax_takes_each_positions_best():
    log_probs = random_log_probs(np.random.default_rng(3), 4, 5)
    tokens, score = jax.jit(argmax_decode)(jnp.asarray(log_probs), jnp.full(CASES, 4))
    np.testing.assert_array_equal(tokens, log_probs.argmax(-1))
    np.testing.assert_allclose(score, log_probs.max(-1).sum(-1), rtol=1e-6)


def test_ties_go_to_the_lower_token():
    tokens, _ = decode(jnp.zeros((1, 3, 3)), jnp.array([3]))
    np.testing.assert_array_equal(tokens[0], [0, 1, 0])
