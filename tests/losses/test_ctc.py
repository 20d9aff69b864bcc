"""The CTC dynamic programs against all alignments."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.losses.ctc import BLANK, ctc_alignment, ctc_log_prob
from emnat_jax.types import NEG_INF
from tests import brute_force

VOCAB, FRAMES, WIDTH = 4, 5, 6
log_prob_of = jax.jit(ctc_log_prob)
alignment_of = jax.jit(ctc_alignment)


def frames_table(seed: int, frames: int = FRAMES) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=(frames, VOCAB)) * 2
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def all_targets(frames: int = FRAMES) -> list[tuple[int, ...]]:
    """Every target of up to one more token than there are frames; most have repeats."""
    return [t for n in range(frames + 2) for t in itertools.product(range(1, VOCAB), repeat=n)]


def run(function, table, targets, *, width=WIDTH, extra_frames=2, filler=2):
    """`function` on one row a target, behind garbage in the padding of tokens and frames."""
    rows = len(targets)
    logits = np.random.default_rng(9).normal(size=(rows, len(table) + extra_frames, VOCAB)).astype(np.float32)
    logits[:, : len(table)] = table + 0.7  # any constant: the function normalises
    tokens = np.full((rows, width), filler, np.int32)
    for row, target in enumerate(targets):
        tokens[row, : len(target)] = target
    lengths = np.array([len(t) for t in targets], np.int32)
    frames = np.full(rows, len(table), np.int32)
    return np.asarray(function(jnp.asarray(logits), frames, tokens, lengths))


@pytest.mark.parametrize("seed", range(3))
def test_log_prob_sums_over_all_alignments(seed):
    table, targets = frames_table(seed), all_targets()
    expected = brute_force.ctc_outputs(table)
    found = run(log_prob_of, table, targets)
    for target, value in zip(targets, found):
        if target in expected:
            np.testing.assert_allclose(value, expected[target][0], rtol=1e-5, atol=1e-5)
        else:
            assert value == NEG_INF
    np.testing.assert_allclose(np.exp(np.float64(found)).sum(), 1.0, rtol=1e-5)


def test_numbers_of_the_specification():
    probs = [[0.6, 0.3, 0.1], [0.1, 0.5, 0.4], [0.3, 0.2, 0.5], [0.2, 0.5, 0.3]]
    cases = {(1,): 0.1092, (1, 2): 0.2310, (1, 1): 0.0762, (2, 1): 0.1791, (1, 2, 1): 0.1848, (): 0.0036}
    table = np.log(np.pad(probs, ((0, 0), (0, 1)), constant_values=1e-30))
    found = run(log_prob_of, table, list(cases))
    np.testing.assert_allclose(np.exp(found), list(cases.values()), rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_alignment_is_the_best_one(seed):
    table, targets = frames_table(seed), all_targets()
    expected = brute_force.ctc_outputs(table)
    for target, path in zip(targets, run(alignment_of, table, targets)):
        assert (path[FRAMES:] == -1).all()
        if target not in expected:
            assert (path == -1).all()
            continue
        assert brute_force.collapsed(tuple(path[:FRAMES].tolist())) == target
        value = table[np.arange(FRAMES), path[:FRAMES]].sum()
        np.testing.assert_allclose(value, expected[target][1], rtol=1e-5)


def test_a_masked_token_has_no_alignment_through_it():
    table = frames_table(0)
    table[:, 2] = NEG_INF
    found = run(log_prob_of, table, [(1, 2), (2,), (1, 3)])
    assert (found[:2] == NEG_INF).all() and found[2] > -20


def test_no_frames_give_the_empty_target_alone():
    found = run(log_prob_of, np.zeros((0, VOCAB)), [(), (1,)])
    np.testing.assert_array_equal(found, [0.0, NEG_INF])


def test_padding_never_matters():
    table, targets = frames_table(4), [(), (1,), (1, 1, 3), (2, 3, 2, 1, 2)]
    narrow = run(log_prob_of, table, targets, width=5, extra_frames=0, filler=BLANK)
    np.testing.assert_allclose(narrow, run(log_prob_of, table, targets, width=9, extra_frames=4), rtol=1e-5)


def test_gradient_is_posterior_minus_probability_and_zero_where_impossible():
    """d log p / d logit = expected count of the symbol at the frame minus its probability."""
    table, target = frames_table(1, 3), (1, 1)
    tokens, one = jnp.array([[1, 1, 3]]), jnp.ones(1, jnp.int32)

    def log_prob(logits, length):
        return ctc_log_prob(logits[None], 3 * one, tokens, length * one)[0]

    gradient = np.asarray(jax.grad(log_prob)(jnp.asarray(table, jnp.float32), 2))
    expected = np.zeros_like(table)
    for alignment in brute_force.all_sequences(VOCAB, 3):
        if brute_force.collapsed(tuple(alignment.tolist())) == target:
            share = np.exp(table[np.arange(3), alignment].sum())
            expected[np.arange(3), alignment] += share
    expected /= expected[0].sum()
    np.testing.assert_allclose(gradient, expected - np.exp(table), atol=1e-5)
    # 1 1 3 needs four frames.
    impossible = jax.grad(log_prob)(jnp.asarray(table, jnp.float32), 3)
    np.testing.assert_array_equal(impossible, np.zeros_like(table))
