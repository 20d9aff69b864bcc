"""Muon: which parameters it moves, and by what."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax.contrib import MuonDimensionNumbers

from emnat_jax.config import ModelConfig
from emnat_jax.families import FAMILIES, make_family
from emnat_jax.training import muon

AXES = {
    "query": ("embed", "heads", None),
    "stacked": ("layers", "embed", None, "heads", None),
    "out": ("heads", None, "embed"),
    "up": ("embed", "mlp"),
    "tokens": ("vocab", "embed"),
    "bias": ("mlp",),
}
SHAPES = {
    "query": (8, 2, 3),
    "stacked": (2, 8, 3, 2, 3),
    "out": (2, 3, 8),
    "up": (8, 16),
    "tokens": (12, 8),
    "bias": (16,),
}


@pytest.mark.parametrize(
    "names, inputs, outputs",
    [
        (("embed", "mlp"), (0,), (1,)),
        (("mlp", "embed"), (0,), (1,)),
        (("embed", "heads", None), (0,), (1, 2)),
        (("embed", None, "heads", None), (0,), (2, 3)),  # query, key and value are three matrices
        (("heads", None, "embed"), (0, 1), (2,)),
        (("layers", "heads", None, "embed"), (1, 2), (3,)),
        (("layers", "embed", None, "heads", None), (1,), (3, 4)),
    ],
)
def test_matrices_are_told_by_the_names_of_their_axes(names, inputs, outputs):
    assert muon.matrix_axes(names) == MuonDimensionNumbers(inputs, outputs)


@pytest.mark.parametrize(
    "names", [("vocab", "embed"), ("position", "embed"), ("mlp",), ("heads", None), (None, "heads", None)]
)
def test_the_rest_is_no_matrix(names):
    assert muon.matrix_axes(names) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_every_kernel_of_attention_and_feed_forward_is_a_matrix_in_every_family(family):
    axes = make_family(ModelConfig(family=family).resolve(60, 8)).axes
    is_names = {"is_leaf": lambda leaf: isinstance(leaf, tuple)}
    leaves = {
        jax.tree_util.keystr(path): names for path, names in jax.tree.leaves_with_path(axes, **is_names)
    }
    of_layers = {path for path in leaves if "layers_" in path and path.endswith("['kernel']")}
    links = {path for path in leaves if path.endswith("['link_head']['query_key']['kernel']")}
    moved = {path for path, names in leaves.items() if muon.matrix_axes(names) is not None}
    assert moved == of_layers | links and bool(links) == (family == "dag")


def gradients(seed: int = 0) -> dict:
    keys = dict(zip(SHAPES, jax.random.split(jax.random.key(seed), len(SHAPES)), strict=True))
    return {name: jax.random.normal(keys[name], shape) for name, shape in SHAPES.items()}


def update(grads: dict, axes: dict = AXES) -> dict:
    """The first one; gradients stand for parameters, whose values play no part."""
    tx = muon.make_muon(optax.scale_by_adam(), axes)
    return jax.jit(lambda grads: tx.update(grads, tx.init(grads), grads)[0])(grads)


def test_an_update_is_the_orthogonal_matrix_nearest_to_the_gradient():
    """As far as five steps of the iteration bring it: singular values of 0.6 to 1.3 instead of 1."""
    moved, grads = update(gradients()), gradients()
    for name, shape in {"query": (8, 6), "out": (6, 8), "up": (8, 16)}.items():
        left, _, right = np.linalg.svd(np.reshape(grads[name], shape), full_matrices=False)
        share = left.T @ np.reshape(moved[name], shape) @ right.T / (muon.UPDATE_SIZE * max(shape) ** 0.5)
        values = np.diag(share)
        assert (values > 0.6).all() and (values < 1.3).all()
        np.testing.assert_allclose(share, np.diag(values), atol=1e-5)


def test_stacked_matrices_move_as_if_they_were_alone():
    grads = gradients()
    moved = update(grads)["stacked"]
    for layer, part in np.ndindex(2, 3):
        alone = update(grads | {"query": grads["stacked"][layer, :, part]})["query"]
        np.testing.assert_allclose(moved[layer, :, part], alone, rtol=1e-5, atol=1e-6)


def test_entries_have_the_size_of_adams():
    sizes = {name: float(jnp.sqrt(jnp.mean(leaf**2))) for name, leaf in update(gradients()).items()}
    for name in ("query", "stacked", "out", "up"):
        assert 0.6 * muon.UPDATE_SIZE < sizes[name] < 1.3 * muon.UPDATE_SIZE


def test_the_rest_is_left_to_the_other_method():
    grads = gradients()
    adam = optax.scale_by_adam()
    expected, _ = adam.update(grads, adam.init(grads))
    moved = update(grads)
    for name in ("tokens", "bias"):
        np.testing.assert_allclose(moved[name], expected[name], rtol=1e-6)


def test_no_gradient_moves_nothing():
    still = update(jax.tree.map(jnp.zeros_like, gradients()))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(still))
