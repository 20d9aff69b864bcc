"""What weights start from, and what stands between the maps of a feed-forward layer."""

import math

import jax
import numpy as np
import pytest
from flax import linen as nn

from emnat_jax.families import make_family
from emnat_jax.models.transformer import FeedForward
from tests import tiny

ZERO, ONE = ("bias", "source_bias", "output_bias"), ("scale",)
SIZES = {"width": 32, "ff_width": 64}


def leaves(family, init):
    """(path, array) of each of a model's weights."""
    params = jax.jit(make_family(tiny.model(family, init=init, **SIZES)).init)(jax.random.key(0))
    return [
        ([part.key for part in path], np.asarray(leaf)) for path, leaf in jax.tree.leaves_with_path(params)
    ]


def assert_normal(found, deviation):
    """Within five standard errors of mean and deviation."""
    assert abs(found.mean()) < 5 * deviation / found.size**0.5
    assert abs(found.std() / deviation - 1) < 5 / (2 * found.size) ** 0.5


@pytest.mark.parametrize("family", ["ar", "vanilla", pytest.param("dag", marks=pytest.mark.slow)])
def test_small_normal_weights_are_everywhere(family):
    for path, leaf in leaves(family, "normal"):
        if path[-1] in ZERO + ONE:
            assert (leaf == (path[-1] in ONE)).all(), path
        else:
            assert_normal(leaf, 0.02)


def test_by_default_matrices_are_glorot_and_embeddings_of_the_width():
    for path, leaf in leaves("ar", "glorot"):
        if path[-2:] == ["up", "kernel"]:
            limit = (6 / (32 + 64)) ** 0.5
            assert 0.99 * limit < np.abs(leaf).max() <= limit
            assert abs(leaf.std() * 3**0.5 / limit - 1) < 0.05
        if path[-2] == "embedding" and path[-1] in ("tokens", "positions"):
            assert_normal(leaf, 32**-0.5)


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("relu", lambda x: max(x, 0.0)),
        ("gelu", lambda x: x * 0.5 * (1 + math.erf(x / 2**0.5))),  # Hendrycks & Gimpel 2016
    ],
    ids=["relu", "gelu"],
)
def test_the_activation_has_the_values_of_its_formula(name, formula):
    module = FeedForward(tiny.model("ar", activation=name).transformer)
    x = 3 * jax.random.normal(jax.random.key(0), (2, 5, 16))
    params = nn.meta.unbox(jax.jit(module.init)(jax.random.key(1), x))
    found = module.apply(params, x)
    up, down = (jax.tree.map(np.asarray, params["params"][part]) for part in ("up", "down"))
    hidden = np.vectorize(formula)(np.float64(x) @ up["kernel"] + up["bias"])
    np.testing.assert_allclose(found, hidden @ down["kernel"] + down["bias"], rtol=1e-4, atol=1e-5)
