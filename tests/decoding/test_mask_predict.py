"""Mask-predict against one position after the other, with a model that is a table of what it is shown."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.decoding.mask_predict import least, mask_predict
from emnat_jax.types import EOS, HIDDEN, NEG_INF, PAD
from tests import brute_force

WIDTH, VOCAB, STATES = 8, 6, 31
LENGTHS = np.tile(np.arange(1, 8), 6)  # at least one column is padding
PRIMES = np.array([1, 2, 3, 5, 7, 11, 13, 17])
# Steps of a quarter: equal confidences are common, and sums are exact.
TABLE = (np.random.default_rng(0).integers(-12, 1, (STATES, WIDTH, VOCAB)) / 4).astype(np.float32)


def predict(revealed, lengths):
    """Log-probabilities [B, T, V] after a hash of what is shown; EOS at the end, nonsense behind it."""
    xp = np if isinstance(revealed, np.ndarray) else jnp
    state = xp.sum((revealed + 1) * PRIMES[None], axis=-1) % STATES
    place, end = np.arange(WIDTH)[None, :, None], lengths[:, None, None] - 1
    certain = np.where(np.arange(VOCAB) == EOS, 0.0, NEG_INF).astype(np.float32)[None, None]
    at_end = xp.where(place == end, certain, 100.0)
    return xp.where(place < end, xp.asarray(TABLE)[state], at_end)


@functools.partial(jax.jit, static_argnums=0)
def refined(iterations):
    lengths = jnp.asarray(LENGTHS)
    return mask_predict(lambda revealed: predict(revealed, LENGTHS), lengths, WIDTH, iterations)


@pytest.mark.parametrize("iterations", [1, 2, 3, 4, 5])
def test_every_row_equals_the_plain_algorithm(iterations):
    """The state hashes every position, so a pass that is shown anything else ends in other tokens."""
    found = jax.device_get(refined(iterations))
    for row, length in enumerate(LENGTHS):

        def one(revealed, length=length):
            return predict(np.array([revealed]), np.array([length]))[0].astype(np.float64)

        tokens, confidence, log_prob = brute_force.mask_predict(one, length, WIDTH, iterations)
        assert found.tokens[row].tolist() == [*tokens, *[PAD] * (WIDTH - length)]
        assert tokens[-1] == EOS
        assert (found.confidence[row], found.log_prob[row]) == (confidence, log_prob)


def test_confidence_is_of_the_last_pass_and_log_prob_of_the_first():
    once, often = (jax.device_get(refined(k)) for k in (1, 4))
    np.testing.assert_array_equal(once.confidence, once.log_prob)
    changed = (once.tokens != often.tokens).any(axis=-1)
    assert changed.any()
    assert (often.log_prob[changed] <= once.log_prob[changed]).all()
    assert (often.confidence != often.log_prob).any()


@pytest.mark.parametrize(
    "iterations, masked",
    [  # in each pass, of 0, 1, 2, 3, 5 and 6 free tokens
        (1, [[0], [1], [2], [3], [5], [6]]),
        (4, [[0] * 4, [1, 0, 0, 0], [2, 1, 1, 0], [3, 2, 1, 0], [5, 3, 2, 1], [6, 4, 3, 1]]),
        (5, [[0] * 5, [1, 0, 0, 0, 0], [2, 1, 1, 0, 0], [3, 2, 1, 1, 0], [5, 4, 3, 2, 1], [6, 4, 3, 2, 1]]),
    ],
)
def test_how_many_tokens_each_pass_predicts(iterations, masked):
    lengths = np.array([1, 2, 3, 4, 6, 7])
    passes = []

    def watched(revealed):
        passes.append(np.asarray(revealed))
        return predict(revealed, lengths)

    with jax.disable_jit():
        mask_predict(watched, jnp.asarray(lengths), WIDTH, iterations)
    free = np.arange(WIDTH)[None] < lengths[:, None] - 1
    assert np.sum((np.array(passes) == HIDDEN) & free, axis=-1).T.tolist() == masked
    assert all((shown[~free] == HIDDEN).all() for shown in passes)


def test_the_least_of_each_row():
    values = jnp.array(
        [[3.0, 1.0, 1.0, 0.0], [2.0, 2.0, 2.0, 2.0], [1.0, -5.0, 0.0, 2.0], [1.0, 2.0, 3.0, 4.0]]
    )
    eligible = jnp.array(
        [[True, True, True, False], [True] * 4, [True, False, True, True], [False, True, True, False]]
    )
    found = least(values, eligible, jnp.array([1, 3, 0, 9]))
    expected = [
        [False, True, False, False],
        [True, True, True, False],
        [False] * 4,
        [False, True, True, False],
    ]
    np.testing.assert_array_equal(found, expected)


def test_bfloat16_is_summed_in_float32():
    """Sums of seven values of up to -6 in steps of a quarter do not fit into its eight digits."""
    lengths = jnp.asarray(LENGTHS)
    found = mask_predict(lambda shown: predict(shown, LENGTHS).astype(jnp.bfloat16) - 3, lengths, WIDTH, 1)
    log_probs = predict(np.full((len(LENGTHS), WIDTH), HIDDEN), LENGTHS).astype(jnp.bfloat16) - 3
    best = np.max(np.asarray(log_probs, np.float64), axis=-1)
    keep = np.arange(WIDTH)[None] < LENGTHS[:, None]
    assert found.log_prob.dtype == found.confidence.dtype == jnp.float32
    np.testing.assert_array_equal(found.log_prob, np.sum(best * keep, axis=1))
