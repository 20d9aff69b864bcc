"""The chunked searches give what NumPy's stable sort gives, ties included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.decoding.top import top_1, top_k
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
