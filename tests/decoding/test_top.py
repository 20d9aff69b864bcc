"""The chunked searches give what NumPy's stable sort gives, ties included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.decoding.top import top_1, top_k, top_of_slots
from emnat_jax.types import NEG_INF


@pytest.mark.parametrize(("vocab", "k"), [(2048, 5), (96, 3), (97, 3), (4, 4), (1, 1), (2048, 1)])
@pytest.mark.parametrize("ties", [False, True])
def test_equals_a_stable_sort(vocab, k, ties):
    rng = np.random.default_rng(vocab)
    values = rng.geometric(0.5, (20, 3, vocab)) if ties else rng.normal(size=(20, 3, vocab))
    values = np.where(rng.random(values.shape) < 0.2, NEG_INF, values).astype(np.float32)
    values[0] = NEG_INF
    order = np.argsort(-values, axis=-1, kind="stable")[..., :k]
    found, index = jax.jit(top_k, static_argnums=1)(jnp.asarray(values), k)
    np.testing.assert_array_equal(index, order)
    np.testing.assert_array_equal(found, np.take_along_axis(values, order, axis=-1))
    found, index = jax.jit(top_1)(jnp.asarray(values))
    np.testing.assert_array_equal(index, order[..., 0])
    np.testing.assert_array_equal(found, values.max(-1))


@pytest.mark.parametrize(
    ("vocab", "slots", "k"), [(2048, 5, 10), (2048, 1, 2), (96, 3, 6), (97, 4, 8), (4, 2, 4)]
)
@pytest.mark.parametrize("ties", [False, True])
def test_the_best_of_all_slots_equal_a_stable_sort_of_their_sums(vocab, slots, k, ties):
    rng = np.random.default_rng(vocab + slots)
    rows = (
        rng.geometric(0.5, (20 * slots, vocab))
        if ties
        else rng.integers(-(2**18), 2**18, (20 * slots, vocab))
    )
    rows = np.where(rng.random(rows.shape) < 0.2, NEG_INF, rows).astype(np.float32)
    added = rng.integers(-3, 3, (20, slots)).astype(np.float32)  # whole numbers: the sums are exact
    added[0, 1:] = NEG_INF
    sums = (rows.reshape(20, slots, vocab) + added[:, :, None]).reshape(20, -1)
    order = np.argsort(-sums, axis=-1, kind="stable")[:, :k]
    top, slot, entry = jax.jit(top_of_slots, static_argnums=2)(jnp.asarray(rows), jnp.asarray(added), k)
    np.testing.assert_array_equal(top, np.take_along_axis(sums, order, axis=-1))
    np.testing.assert_array_equal(slot * vocab + entry, order)
