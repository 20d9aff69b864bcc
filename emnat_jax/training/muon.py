"""Muon: momentum made orthogonal, for the matrices of the layers (Jordan et al. 2024), as optax has it."""

import math
from typing import Any

import jax
import optax
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from emnat_jax.types import Params

MOMENTUM = 0.95
# Root mean square of an update's entries before the learning rate. Adam's is 0.2 to 0.4 (Liu et al. 2025,
# section 2.2), so that both take the same rates.
UPDATE_SIZE = 0.2
# Coefficients of the Newton-Schulz iteration (Jordan et al. 2024), once a step of it. As a table optax
# compiles one step and repeats it.
ITERATION = ((3.4445, -4.775, 2.0315),) * 5
INNER_AXES = ("heads", "mlp")


def make_muon(others: optax.GradientTransformation, axes: Params) -> optax.GradientTransformation:
    """Updates for a learning rate of one: Muon's of the layers' matrices, those of `others` of the rest.

    `axes` has the logical axis names of each parameter. Embeddings, biases and norms are the rest.
    """
    matrices = jax.tree.map(matrix_axes, axes, is_leaf=_is_names)
    labels = jax.tree.map(lambda m: "others" if m is None else "muon", matrices, is_leaf=_is_matrix)
    masked = jax.tree.map(lambda m: optax.MaskedNode() if m is None else m, matrices, is_leaf=_is_matrix)
    muon = optax.chain(
        scale_by_muon(ITERATION, beta=MOMENTUM, weight_dimension_numbers=lambda params: masked),
        optax.stateless(lambda updates, params: jax.tree.map(_resized, updates, masked, is_leaf=_is_matrix)),
    )
    return optax.partition({"muon": muon, "others": others}, labels)


def matrix_axes(names: tuple[str | None, ...]) -> MuonDimensionNumbers | None:
    """Which axes of a parameter are the inputs and the outputs of one matrix; the others count matrices.

    None for what is no matrix between the width of the model and that of a layer: heads or feed-forward.
    """
    inner = next((place for place, name in enumerate(names) if name in INNER_AXES), None)
    if inner is None or "embed" not in names:
        return None
    # What follows the name belongs to it (the channels of a head), what stands before it is stacked.
    embed = names.index("embed")
    inside = tuple(place for place in range(inner, len(names)) if place != embed)
    return MuonDimensionNumbers((embed,), inside) if embed < inner else MuonDimensionNumbers(inside, (embed,))


def _resized(update: jax.Array, matrix: MuonDimensionNumbers) -> jax.Array:
    """An orthogonal matrix of m rows and n columns has entries of root mean square max(m, n)^-1/2."""
    sizes = (math.prod(update.shape[axis] for axis in axes) for axes in matrix)
    return update * (UPDATE_SIZE * max(sizes) ** 0.5)


def _is_names(leaf: Any) -> bool:
    return isinstance(leaf, tuple)


def _is_matrix(leaf: Any) -> bool:
    return leaf is None or isinstance(leaf, MuonDimensionNumbers)
