"""Candidate lengths by docs/method.md, section 13.6, and under a limit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.decoding.length_parallel import candidate_lengths


@pytest.mark.parametrize(
    ("length", "n", "first", "last"),
    [
        (30, 9, 26, 34),
        (6, 9, 2, 10),
        *((t, 9, 2, 10) for t in range(1, 6)),
        (1, 1, 2, 2),
        (2, 1, 2, 2),
        (30, 1, 30, 30),
    ],
)
def test_worked_cases(length, n, first, last):
    lengths, valid = candidate_lengths(jnp.array([length]), n, 128)
    np.testing.assert_array_equal(lengths[0], np.arange(first, last + 1))
    assert np.all(valid)


@pytest.mark.parametrize("n", [1, 2, 9])
@pytest.mark.parametrize("limit", [1, 2, 5, 20])
def test_lengths_stay_within_the_limit(n, limit):
    lengths, valid = jax.jit(candidate_lengths, static_argnums=(1, 2))(jnp.arange(1, 40), n, limit)
    assert lengths.shape == valid.shape == (39, n)
    assert np.all(lengths <= limit) and np.all(lengths >= min(2, limit))
    assert np.all(np.any(valid, axis=1))
    for row, keep in zip(np.asarray(lengths), np.asarray(valid), strict=True):
        np.testing.assert_array_equal(row[keep], np.arange(row[0], row[0] + keep.sum()))
        assert np.all(row[~keep] == limit)
        assert keep.all() or limit in row[keep]


def test_a_length_beyond_the_limit_is_cut_to_it():
    lengths, valid = candidate_lengths(jnp.array([50]), 9, 20)
    np.testing.assert_array_equal(lengths[0][valid[0]], [16, 17, 18, 19, 20])
