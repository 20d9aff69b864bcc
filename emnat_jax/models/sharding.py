"""Where activations lie on the devices."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import PartitionSpec


def constrain(x: jax.Array, *axes: str | None) -> jax.Array:
    """`x` with each of its axes spread over devices as the rules say of that logical axis (None: whole).

    The rules are those of `runtime/mesh.py: use_layout`; outside of it `x` stays as it is. Without this
    the compiler lets the weights' layout leak into activations, and pays for it in gathers and memory.
    """
    return nn.with_logical_constraint(x, axes)


def constrain_rows(x: jax.Array) -> jax.Array:
    """`x` with its rows, the first axis, spread and all others whole."""
    return constrain(x, "batch", *(None,) * (x.ndim - 1))


def spread_over(axis: str) -> int:
    """How many devices an axis of this logical name is spread over, as the rules say; 1 outside of them."""
    mesh = jax.sharding.get_abstract_mesh()
    return math.prod(mesh.shape[name] for name in _mesh_axes(axis))


def _mesh_axes(axis: str) -> tuple[str, ...]:
    """The axes of the mesh that an axis of this logical name is spread over."""
    mesh = jax.sharding.get_abstract_mesh()
    axes = None if mesh.empty else nn.logical_to_mesh_axes((axis,))
    over = None if axes is None else axes[0]
    return () if over is None else (over,) if isinstance(over, str) else tuple(over)


def rows_of(table: jax.Array, index: jax.Array, axis: str) -> jax.Array:
    """table[index], where the rows of `table` have the logical name `axis`.

    Where the rules spread these rows over devices, each looks up what it has and the results are summed: as
    many numbers as are asked for travel, and never the table, which the compiler by itself would gather.
    """
    over = _mesh_axes(axis)
    if spread_over(axis) == 1:
        return table[index]

    def part(rows: jax.Array, index: jax.Array) -> jax.Array:
        place = index - jax.lax.axis_index(over) * rows.shape[0]
        here = (place >= 0) & (place < rows.shape[0])
        found = rows[jnp.where(here, place, 0)]
        return jax.lax.psum(jnp.where(here[..., None], found, 0), over)

    everywhere = PartitionSpec()
    by_rows = PartitionSpec(over)
    lookup = jax.shard_map(part, in_specs=(by_rows, everywhere), out_specs=everywhere, axis_names=set(over))
    return lookup(table, index)
