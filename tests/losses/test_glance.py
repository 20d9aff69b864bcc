"""Random subsets and the glancing rule against counts."""

import jax
import jax.numpy as jnp
import numpy as np

from emnat_jax.losses.glance import glanced, glancing_ratio, random_subset, uniform_count


def test_every_subset_is_equally_likely():
    keys = jax.random.split(jax.random.key(0), 4000)
    eligible = jnp.array([[True, False, True, True, True]])
    chosen = np.asarray(jax.vmap(lambda key: random_subset(key, eligible, jnp.array([2])))(keys))[:, 0]
    assert (chosen.sum(-1) == 2).all() and not chosen[:, 1].any()
    _, counts = np.unique(chosen, axis=0, return_counts=True)
    assert len(counts) == 6
    np.testing.assert_allclose(counts / 4000, 1 / 6, atol=0.03)


def test_subset_takes_what_there_is():
    eligible = jnp.array([[True, False, True], [False, False, False]])
    chosen = random_subset(jax.random.key(1), eligible, jnp.array([3, 2]))
    np.testing.assert_array_equal(chosen, eligible)


def test_counts_are_uniform_from_one():
    limit = jnp.array([3, 0, 1])
    drawn = np.asarray(
        jax.vmap(lambda key: uniform_count(key, limit))(jax.random.split(jax.random.key(2), 3000))
    )
    assert set(drawn[:, 1]) == {0} and set(drawn[:, 2]) == {1}
    values, counts = np.unique(drawn[:, 0], return_counts=True)
    assert values.tolist() == [1, 2, 3]
    np.testing.assert_allclose(counts / 3000, 1 / 3, atol=0.04)


def test_ratio_falls_in_a_line_and_stays():
    found = [float(glancing_ratio(progress, 0.5, 0.3, 0.4)) for progress in (0.0, 0.2, 0.4, 1.0)]
    np.testing.assert_allclose(found, [0.5, 0.4, 0.3, 0.3], rtol=1e-6)


def test_glances_at_a_share_of_the_wrong_positions_only_where_eligible():
    reference = jnp.array([[4, 5, 6, 7, 8], [4, 5, 6, 7, 8]])
    guess = jnp.array([[4, 9, 9, 9, 9], [4, 5, 6, 7, 9]])
    eligible = jnp.array([[True] * 5, [True] * 4 + [False]])
    shown = glanced(jax.random.key(3), guess, reference, eligible, jnp.float32(0.5))
    assert shown.sum(-1).tolist() == [2, 0]  # 4 wrong x 0.5; the only wrong one of row 1 is not eligible
