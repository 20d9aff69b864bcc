"""Devices as a mesh, logical axes as shardings, host rows as global arrays."""

import contextlib
import math
from collections.abc import Iterator, Sequence

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from emnat_jax.config import MeshConfig
from emnat_jax.errors import UserError
from emnat_jax.types import Batch, Params

AXES = ("data", "fsdp", "model")
ROWS = ("data", "fsdp")  # the mesh axes that the rows of a batch are spread over
RULES = (  # logical axis -> mesh axes; what is not named is replicated
    ("batch", ROWS),
    ("vocab", "model"),
    ("mlp", "model"),
    ("heads", "model"),
    ("embed", "fsdp"),
)


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh with the axes data, fsdp, model over `devices` (None: all there are).

    Raises UserError when the sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    rest = config.fsdp * config.model
    data = len(devices) // max(rest, 1) if config.data is None else config.data
    if data * rest != len(devices) or rest < 1:
        raise UserError(
            f"mesh.data={config.data}, mesh.fsdp={config.fsdp}, mesh.model={config.model} does not fill "
            f"{len(devices)} devices; their product must be {len(devices)} (mesh.data=None takes what is left)."
        )
    # jax.make_mesh makes Explicit axes by default; its first parameter has another name from 0.11 on.
    shape = (data, config.fsdp, config.model)
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * 3, devices=devices)


@contextlib.contextmanager
def use_mesh(mesh: Mesh) -> Iterator[None]:
    """Makes the logical constraints inside a model mean this mesh; compile and run steps in it."""
    with jax.set_mesh(mesh), nn.logical_axis_rules(RULES):
        yield


def row_multiple(mesh: Mesh) -> int:
    """The number that the rows of every (micro-)batch must divide by."""
    return math.prod(mesh.shape[axis] for axis in ROWS)


def replicated(mesh: Mesh) -> NamedSharding:
    """The same value on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh, *, stacked: bool = False) -> NamedSharding:
    """Rows spread over the devices; `stacked` for leaves with a micro-batch axis in front."""
    return NamedSharding(mesh, PartitionSpec(None, ROWS) if stacked else PartitionSpec(ROWS))


def param_shardings(mesh: Mesh, axes: Params) -> Params:
    """A sharding for each leaf of `axes`, a tree of tuples of logical axis names."""

    def sharding(names: tuple) -> NamedSharding:
        return NamedSharding(mesh, nn.logical_to_mesh_axes(names, RULES))

    return jax.tree.map(sharding, axes, is_leaf=lambda leaf: isinstance(leaf, tuple))


def require_divisible(params: Params, shardings: Params) -> None:
    """Raises UserError where a parameter's shape does not divide over its mesh axes."""

    def check(path, leaf, sharding: NamedSharding) -> None:
        for size, names in zip(leaf.shape, sharding.spec):
            names = (names,) if isinstance(names, str) else names or ()
            parts = math.prod(sharding.mesh.shape[name] for name in names)
            if size % parts:
                options = " x ".join(f"mesh.{name}" for name in names)
                raise UserError(
                    f"parameter {jax.tree_util.keystr(path)} has an axis of {size}, which does not divide "
                    f"by {options}={parts}; change the mesh or that size."
                )

    jax.tree_util.tree_map_with_path(check, params, shardings)


def to_global(mesh: Mesh, batch: Batch, *, accumulate: int = 1) -> Batch:
    """This process's rows (NumPy) as its part of one global batch.

    With `accumulate` > 1 the rows are cut into that many micro-batches, a new axis in front.
    Raises UserError when the rows do not divide.
    """
    rows, parts = len(batch.weight) * jax.process_count(), row_multiple(mesh) * accumulate
    if rows % parts:
        raise UserError(
            f"a batch of {rows} rows does not divide by mesh.data x mesh.fsdp={row_multiple(mesh)} times "
            f"train.accumulate={accumulate}; use a multiple of {parts} rows."
        )
    sharding = batch_sharding(mesh, stacked=accumulate > 1)

    def place(leaf: np.ndarray) -> jax.Array:
        leaf = leaf if accumulate == 1 else leaf.reshape(accumulate, -1, *leaf.shape[1:])
        return jax.make_array_from_process_local_data(sharding, leaf)

    return jax.tree.map(place, batch)
