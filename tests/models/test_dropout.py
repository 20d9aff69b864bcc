"""The hash behind dropout is uniform, independent between keys and elements, and a function of both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from emnat_jax.config import ModelConfig, TransformerSpec
from emnat_jax.models.dropout import dropout, dropout_rngs, hashed_key, place_key
from emnat_jax.models.stack import Stack

SHAPE = (64, 16, 64)


def masks(keys, rate=0.5):
    ones = jnp.ones(SHAPE)
    return np.array([np.asarray(dropout(hashed_key(jax.random.key(k)), ones, rate)) > 0 for k in keys])


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5])
def test_the_share_and_the_mean_are_kept(rate):
    dropped = np.asarray(dropout(hashed_key(jax.random.key(3)), jnp.full(SHAPE, 2.0), rate))
    deviation = (rate * (1 - rate) / dropped.size) ** 0.5
    assert abs((dropped == 0).mean() - rate) < 4 * deviation
    np.testing.assert_allclose(dropped[dropped > 0], 2.0 / (1 - rate), rtol=1e-6)


def test_each_row_and_column_is_hit_alike():
    keep = masks([5])[0]
    for axes in ((0, 1), (1, 2), (0, 2)):
        share = keep.mean(axis=axes)
        count = keep.size / share.size
        assert np.abs(share - 0.5).max() < 5 * 0.5 / count**0.5


def test_keys_and_neighbours_are_independent():
    keeps = masks(range(8)).reshape(8, -1).astype(float) - 0.5
    limit = 5 * 0.25 / keeps.shape[1] ** 0.5
    products = keeps @ keeps.T / keeps.shape[1]
    assert np.abs(products - 0.25 * np.eye(8)).max() < limit
    for lag in (1, 2, 16, 64, 1024):
        assert np.abs((keeps[:, lag:] * keeps[:, :-lag]).mean(axis=1)).max() < 1.1 * limit


def test_bits_are_uniform_in_every_position():
    bits = np.asarray(jax.random.bits(hashed_key(jax.random.key(1)), (1 << 16,)))
    share = [((bits >> place) & 1).mean() for place in range(32)]
    assert np.abs(np.array(share) - 0.5).max() < 5 * 0.5 / 256


def test_same_key_same_mask_and_none_is_the_identity():
    np.testing.assert_array_equal(*masks([2, 2]))
    x = jnp.arange(8.0)
    assert dropout(None, x, 0.5) is x and dropout(jax.random.key(0), x, 0.0) is x


def test_the_index_is_row_major():
    flat = jax.random.bits(hashed_key(jax.random.key(0)), (24,)).reshape(2, 3, 4)
    np.testing.assert_array_equal(flat, jax.random.bits(hashed_key(jax.random.key(0)), (2, 3, 4)))


class Draws(nn.Module):
    """A layer that draws two masks."""

    spec: TransformerSpec

    def __call__(self, x, own, shared):
        return x, [jax.random.bits(place_key(self), (4,)) for _ in range(2)]


@pytest.mark.parametrize("scan", [False, True])
def test_every_place_of_every_layer_draws_a_mask_of_its_own(scan):
    spec = ModelConfig(scan_layers=scan, remat=True).resolve(10, 8).transformer
    stack = Stack(spec, Draws, count=3)
    bits = [
        np.concatenate([np.reshape(leaf, (-1, 4)) for leaf in jax.tree.leaves(drawn)])
        for drawn in (
            stack.apply({}, jnp.zeros(1), rngs=dropout_rngs(jax.random.key(seed)))[1] for seed in (0, 1)
        )
    ]
    assert len(np.unique(np.concatenate(bits))) == 2 * 3 * 2 * 4
