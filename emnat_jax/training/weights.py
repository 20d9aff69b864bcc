"""The weights of a finished run: which checkpoints they are the mean of, and reading them."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.errors import require
from emnat_jax.families.base import Family
from emnat_jax.runtime.mesh import Layout
from emnat_jax.training.fingerprint import fingerprint
from emnat_jax.training.restore import restore_params
from emnat_jax.training.state import abstract_params
from emnat_jax.types import Params


class Weights(NamedTuple):
    """Which weights of a finished run are used."""

    steps: tuple[int, ...]  # they are the mean of those after these
    fingerprint: str


def load_params(directory: epath.PathLike, family: Family, layout: Layout, weights: Weights) -> Params:
    """The parameters that `fit` returned for `directory`, read from its checkpoints.

    Raises UserError where they are lost or damaged, and where the checkpoints hold others.
    """
    params = mean_params(directory, abstract_params(family, layout), weights.steps)
    require(
        fingerprint(params) == weights.fingerprint,
        f"{checkpoints_in(directory)} holds other weights than its manifest names: those of another model; "
        f"restore its own, or delete {directory} and train it again.",
    )
    return params


def mean_params(directory: epath.PathLike, abstract: Params, steps: Sequence[int]) -> Params:
    """The mean of the parameters after these steps. UserError where a checkpoint is lost or damaged."""
    folder = checkpoints_in(directory)
    total = restore_params(folder, abstract, steps[0])
    for step in steps[1:]:
        total = jax.tree.map(jax.numpy.add, total, restore_params(folder, abstract, step))
    return jax.tree.map(lambda leaf: leaf / len(steps), total) if len(steps) > 1 else total


def checkpoints_in(directory: epath.PathLike) -> epath.Path:
    """Where a run keeps its checkpoints."""
    return epath.Path(directory) / paths.CHECKPOINTS
