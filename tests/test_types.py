"""Log-probabilities that stand for probability zero."""

import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.types import NEG_INF, is_impossible


@pytest.mark.parametrize("array", [np.array, jnp.array])
def test_what_is_impossible(array):
    sentence = -1e4  # far less than any sentence has
    log_probs = array([0.0, sentence, NEG_INF, NEG_INF - sentence, NEG_INF + sentence, 3 * NEG_INF, -np.inf])
    assert is_impossible(log_probs).tolist() == [False, False, True, True, True, True, True]


def test_what_is_not_a_number_is_not_taken_for_impossible():
    assert not is_impossible(np.array(np.nan))
