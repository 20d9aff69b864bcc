"""Links between vertices: who may follow whom, and with what probability."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from emnat_jax.models.heads import LinkHead, successors
from emnat_jax.types import NEG_INF
from tests import tiny

VERTICES = 8
KEEP = jnp.arange(VERTICES)[None] < jnp.array([[VERTICES], [5], [1]])


@pytest.mark.parametrize("max_jump", [None, 1, 2])
def test_successors_are_later_real_and_near(max_jump):
    found = np.asarray(successors(KEEP, max_jump))
    for row, real in enumerate((VERTICES, 5, 1)):
        for i in range(VERTICES):
            ends = real if max_jump is None else min(real, i + max_jump + 1)
            wanted = list(range(i + 1, ends)) if i < real else []
            assert np.flatnonzero(found[row, i]).tolist() == wanted


def link_head(max_jump):
    """The head with random weights, its inputs, and the links it gives."""
    spec = tiny.model("dag").transformer
    keys = jax.random.split(jax.random.key(0), 3)
    states = jax.random.normal(keys[0], (3, VERTICES, spec.width))
    place = jax.random.normal(keys[1], (VERTICES, spec.width))
    module = LinkHead(spec, heads=3, max_jump=max_jump)
    params = jax.tree.map(lambda x: 3 * x + 0.1, nn.meta.unbox(module.init(keys[2], states, place, KEEP)))
    return spec, params["params"], (states, place), np.asarray(module.apply(params, states, place, KEEP))


@pytest.mark.parametrize("max_jump", [None, 4])
def test_links_are_distributions_over_the_successors(max_jump):
    _, _, _, links = link_head(max_jump)
    allowed = np.asarray(successors(KEEP, max_jump))
    assert (links[~allowed] == np.float32(NEG_INF)).all()
    total = np.exp(links.astype(np.float64)).sum(axis=-1)
    np.testing.assert_allclose(total, allowed.any(axis=-1), rtol=1e-5)


def test_links_mix_the_softmax_of_each_head():
    """Written out in float64 from the parameters: gate . softmax(query . key / sqrt(C))."""
    spec, params, (states, place), links = link_head(4)
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    x = np.concatenate([states, np.broadcast_to(place[None], states.shape)], axis=-1).astype(np.float64)
    pair, gate = (
        np.tensordot(x, params[name]["kernel"], 1) + params[name]["bias"] for name in ("query_key", "gate")
    )
    query, key = pair[:, :, 0], pair[:, :, 1]
    scores = np.einsum("blhc,bmhc->blmh", query, key) / np.sqrt(spec.width / spec.heads)
    allowed = np.asarray(successors(KEEP, 4))[..., None]
    weights = np.where(allowed, np.exp(scores), 0.0)
    by_head = weights / np.maximum(weights.sum(axis=2, keepdims=True), 1e-300)
    gate = np.exp(gate) / np.exp(gate).sum(axis=-1, keepdims=True)
    mixed = np.einsum("blmh,blh->blm", by_head, gate)
    np.testing.assert_allclose(np.exp(links), mixed, rtol=1e-4, atol=1e-7)
