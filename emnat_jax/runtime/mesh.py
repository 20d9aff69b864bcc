"""The mesh of devices, the shardings of logical axes, and host rows as global arrays."""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from emnat_jax.config import MeshConfig
from emnat_jax.config.program import AXES
from emnat_jax.errors import UserError, require
from emnat_jax.types import Batch, Params

ROWS = ("data", "fsdp")  # the mesh axes over which the rows of a batch are sharded


class Layout(NamedTuple):
    """A mesh with the axes data, fsdp, model, and what is sharded over which of them."""

    mesh: Mesh
    rules: tuple[tuple[str, str | tuple[str, ...] | None], ...]  # logical axis -> mesh axes


def make_layout(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Layout:
    """The layout that `config` asks for over `devices` (None: all there are, those of other processes too).

    Raises UserError when the sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    rest = config.fsdp * config.model
    data = len(devices) // rest if config.data is None else config.data
    if data * rest != len(devices):
        raise UserError(
            f"mesh.data={config.data}, mesh.fsdp={config.fsdp}, mesh.model={config.model} does not fill "
            f"{len(devices)} devices; their product must be {len(devices)} (mesh.data=None takes what is "
            "left)."
        )
    mesh = _mesh((data, config.fsdp, config.model), devices)
    return Layout(mesh, (("batch", ROWS), *vars(config.rules).items()))


def _mesh(shape: tuple[int, int, int], devices: Sequence[jax.Device]) -> Mesh:
    """Over several TPU slices only the rows of a batch are sharded: the links between them are slow."""
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    types = (AxisType.Auto,) * 3
    if slices == 1:
        # jax.make_mesh makes Explicit axes by default; its first parameter has another name from 0.11 on.
        return jax.make_mesh(shape, AXES, axis_types=types, devices=devices)
    data, *rest = shape
    require(data % slices == 0, f"mesh.data={data} does not divide by the number of slices, {slices}.")
    of_slice, of_slices = (data // slices, *rest), (slices, 1, 1)
    return Mesh(mesh_utils.create_hybrid_device_mesh(of_slice, of_slices, devices), AXES, axis_types=types)


@contextlib.contextmanager
def use_layout(layout: Layout) -> Iterator[None]:
    """A context in which the sharding constraints of a model mean this layout; run steps in it."""
    with jax.set_mesh(layout.mesh), nn.logical_axis_rules(layout.rules):
        yield


def row_shares(layout: Layout) -> int:
    """The number of shards of equal size that the rows of every (micro-)batch are cut into."""
    return math.prod(layout.mesh.shape[axis] for axis in ROWS)


def replicated(mesh: Mesh) -> NamedSharding:
    """The same value on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh, *, stacked: bool = False) -> NamedSharding:
    """Rows sharded over the devices; `stacked` for leaves with a micro-batch axis in front."""
    return NamedSharding(mesh, PartitionSpec(None, ROWS) if stacked else PartitionSpec(ROWS))


def param_shardings(layout: Layout, axes: Params) -> Params:
    """A sharding for each leaf of `axes`, a tree of tuples of logical axis names."""

    def sharding(names: tuple) -> NamedSharding:
        spec = nn.logical_to_mesh_axes(names, layout.rules)
        assert spec is not None
        return NamedSharding(layout.mesh, spec)

    return jax.tree.map(sharding, axes, is_leaf=lambda leaf: isinstance(leaf, tuple))


def require_divisible(params: Params, shardings: Params) -> None:
    """Raises UserError where a parameter's shape does not divide over its mesh axes."""

    def check(path: Any, leaf: Any, sharding: NamedSharding) -> None:
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


def require_rows_divide(layout: Layout, multiple: int, accumulate: int) -> None:
    """UserError unless a number of rows that `multiple` (data.row_multiple) divides can be cut evenly."""
    parts = row_shares(layout) * accumulate
    require(
        multiple % parts == 0,
        f"data.row_multiple={multiple} does not divide by mesh.data x mesh.fsdp={row_shares(layout)} times "
        f"teacher_train.accumulate or student_train.accumulate={accumulate}; use a multiple of {parts}.",
    )


def _own_shares(layout: Layout) -> list[int]:
    """Which of the shares of rows this process's devices hold, in ascending order."""
    return list(_shares_by_process(layout)[jax.process_index()])


@functools.cache  # every batch asks, and a pod has thousands of devices
def _shares_by_process(layout: Layout) -> dict[int, tuple[int, ...]]:
    """Process -> indices of the row shards on its devices."""
    groups = layout.mesh.devices.reshape(row_shares(layout), -1)  # the axis `model` is the last
    found: dict[int, set[int]] = {}
    for share, group in enumerate(groups):
        for device in group:
            found.setdefault(device.process_index, set()).add(share)
    return {process: tuple(sorted(shares)) for process, shares in found.items()}


@dataclasses.dataclass(frozen=True)
class DataPart:
    """Which part of a sharded data set this process feeds to its devices."""

    index: int
    count: int  # of parts; processes whose devices hold the same rows read the same part
    writes: bool  # whether this is the one of those processes that writes the results


def data_part(layout: Layout) -> DataPart:
    """This process's part; part 0 is that of the first process."""
    shares, here = _shares_by_process(layout), jax.process_index()
    parts = sorted(set(shares.values()))
    first, own = (parts.index(shares[process]) for process in (0, here))
    same_part = [process for process, held in shares.items() if held == shares[here]]
    return DataPart((own - first) % len(parts), len(parts), here == min(same_part))


def own_rows(layout: Layout, each: int) -> int:
    """Rows of a batch that this process provides, with `each` on every device."""
    return each * len(_own_shares(layout))


def local_rows(layout: Layout, rows: np.ndarray, accumulate: int = 1) -> np.ndarray:
    """Those rows of a global batch that this process's devices hold, in order."""
    shares = rows.reshape(accumulate, row_shares(layout), -1, *rows.shape[1:])
    return shares[:, _own_shares(layout)].reshape(-1, *rows.shape[1:])


def to_global(layout: Layout, batch: Batch, *, accumulate: int = 1) -> Batch:
    """This process's rows (NumPy, as `local_rows` picks them) as its part of one global batch.

    With `accumulate` > 1 the rows are cut into that many micro-batches, a new axis in front.
    Raises UserError when the rows do not divide.
    """
    own, shares = _own_shares(layout), row_shares(layout)
    rows = len(batch.weight) * shares // len(own)
    if rows % (shares * accumulate):
        raise UserError(
            f"a batch of {rows} rows does not divide by mesh.data x mesh.fsdp={shares} times "
            f"teacher_train.accumulate or student_train.accumulate={accumulate}; use a multiple of "
            f"{shares * accumulate} rows."
        )
    sharding = batch_sharding(layout.mesh, stacked=accumulate > 1)
    rows //= accumulate
    each = rows // shares

    def place(leaf: np.ndarray) -> jax.Array:
        # Not jax.make_array_from_process_local_data: this holds for any order of devices and hosts.
        parts = leaf.reshape(accumulate, len(own), each, *leaf.shape[1:])

        def of_device(index: Any) -> np.ndarray:
            part = parts[:, own.index((index[accumulate > 1].start or 0) // each)]
            return part if accumulate > 1 else part[0]

        stacked = (accumulate,) if accumulate > 1 else ()
        return jax.make_array_from_callback((*stacked, rows, *leaf.shape[1:]), sharding, of_device)

    return jax.tree.map(place, batch)


def from_global(array: jax.Array) -> np.ndarray:
    """This process's rows of an array that is sharded as in `to_global`; all of one that is replicated."""
    if array.is_fully_replicated:
        return np.asarray(array.addressable_data(0))
    parts = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
    return np.concatenate([np.asarray(parts[start]) for start in sorted(parts)])
