"""Length penalty and rescoring by the numbers of docs/method.md, section 13.5."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.decoding.rerank import length_penalty, rerank
from emnat_jax.types import EOS, NEG_INF, PAD, Hypotheses


@pytest.mark.parametrize(
    ("alpha", "wanted"),
    [
        (0.6, [1, 1.358655, 1.515717, 1.732862, 2.354362]),
        (1.0, [1, 1.666667, 2, 2.5, 4.166667]),
        (1.4, [1, 2.044505, 2.639016, 3.606750, 7.374019]),
    ],
)
def test_length_penalty(alpha, wanted):
    np.testing.assert_allclose(length_penalty(jnp.array([1, 5, 7, 10, 20]), alpha), wanted, atol=1e-6)


def of_lengths(lengths, width=9) -> Hypotheses:
    """One row of hypotheses, word 7 repeated; slot k has log_prob -k."""
    place = np.arange(width)[None]
    ends = np.asarray(lengths)[:, None]
    tokens = np.where(place < ends - 1, 7, np.where(place == ends - 1, EOS, PAD))
    log_prob = -np.arange(len(lengths), dtype=np.float32)[None]
    return jax.tree.map(jnp.asarray, Hypotheses(tokens[None], log_prob, log_prob))


reranked = jax.jit(rerank)


@pytest.mark.parametrize(("alpha", "length"), [(0.0, 6), (0.6, 6), (1.0, 6), (1.4, 8)])
def test_worked_rescoring(alpha, length):
    log_prob = jnp.array([[-3.60, -4.00, -4.45]])
    found = reranked(of_lengths([6, 7, 8]), log_prob, alpha)
    assert np.sum(np.asarray(found.tokens)[0, 0] != PAD) == length
    if alpha == 1.4:
        np.testing.assert_allclose(found.rank_score[0], [-1.507478, -1.515717, -1.540865], atol=1e-6)
        np.testing.assert_array_equal(found.log_prob[0], [-2.0, -1.0, 0.0])  # the maker's, moved along


@pytest.mark.parametrize("alpha", [0.0, 0.6, -0.6])
def test_unfilled_slots_stay_last(alpha):
    before = of_lengths([3, 4, 5, 6])
    before = before.replace(rank_score=before.rank_score.at[0, 2:].set(NEG_INF))
    found = reranked(before, jnp.array([[NEG_INF, -1.0, 0.0, 0.0]]), alpha)
    lengths = np.sum(np.asarray(found.tokens) != PAD, axis=-1)[0]
    np.testing.assert_array_equal(lengths, [4, 3, 5, 6])
    np.testing.assert_array_equal(found.rank_score[0, 2:], np.float32(NEG_INF))


def test_ties_keep_their_order():
    found = reranked(of_lengths([4, 4, 4]), jnp.full((1, 3), -1.0), 0.6)
    np.testing.assert_array_equal(found.log_prob[0], [0.0, -1.0, -2.0])
