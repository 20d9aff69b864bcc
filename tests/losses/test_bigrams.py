"""Clipping, F1 and precision of expected bigrams, by hand."""

import jax.numpy as jnp
import numpy as np

from emnat_jax.losses.bigrams import Bigrams, bigram_f1, bigram_precision, matched_bigrams
from tests import bigrams


def test_counts_are_clipped_to_those_of_the_target_once_for_equal_bigrams():
    tokens = np.array([4, 5, 4, 5, 4, 6])  # (4, 5) and (5, 4) twice, (4, 6) once
    pairs = np.stack([tokens[:-1], tokens[1:]], axis=-1)
    expected = {(4, 5): 2.5, (5, 4): 0.75, (4, 6): 1.5}
    counts = np.array([expected[tuple(pair)] for pair in pairs.tolist()], np.float32)
    found = matched_bigrams(jnp.array([counts]), jnp.array([pairs]), jnp.ones((1, 5), bool))
    np.testing.assert_allclose(found, [2 + 0.75 + 1], rtol=1e-6)
    np.testing.assert_allclose(found, [bigrams.matched_bigrams(expected, tokens)], rtol=1e-6)


def test_what_is_not_kept_neither_counts_nor_repeats():
    pairs, counts = jnp.array([[[4, 5], [5, 4], [4, 5]]]), jnp.array([[0.9, 0.3, np.nan]])
    found = matched_bigrams(counts, pairs, jnp.array([[True, True, False]]))
    np.testing.assert_allclose(found, [1.2], rtol=1e-6)


def test_measures_of_worked_cases():
    """Half of 4 expected bigrams match a target of 4, of 2 and of 8."""
    cases = Bigrams(jnp.full(3, 2.0), jnp.full(3, 4.0), jnp.array([4.0, 2.0, 8.0]))
    np.testing.assert_allclose(bigram_f1(cases), [1 / 2, 2 / 3, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(bigram_precision(cases), [0.5, 0.5, 0.5 * np.exp(-1)], rtol=1e-6)
