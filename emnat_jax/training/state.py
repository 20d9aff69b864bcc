"""What changes during training, and how it lies on the devices."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.sharding import Mesh

from emnat_jax.errors import UserError
from emnat_jax.families.base import Family
from emnat_jax.training.mesh import param_shardings, replicated, require_divisible
from emnat_jax.types import Key, Params


@struct.dataclass
class TrainState:
    """Everything an update reads and writes; all float32 but for counters.

    The same container also holds shapes or shardings, so its fields are not checked.
    """

    step: Any  # i32[]; finished updates
    params: Any  # Params
    opt_state: Any  # optax.OptState
    ema: Any  # Params, the exponential average; None where it is not wanted


def create_state(
    family: Family,
    tx: optax.GradientTransformation,
    key: Key,
    *,
    ema: bool,
    initial_params: Params | None = None,
) -> TrainState:
    """The state before the first update; `initial_params` warm-starts it with a fresh optimiser."""
    # Copies: the state is donated to the first step, while the caller keeps its arrays.
    params = family.init(key) if initial_params is None else jax.tree.map(jnp.copy, initial_params)
    average = jax.tree.map(jnp.copy, params) if ema else None
    return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params), average)


def state_shardings(axes: Params, tx: optax.GradientTransformation, mesh: Mesh, *, ema: bool) -> TrainState:
    """A sharding for each leaf of the state; the optimiser's moments lie as their parameters do."""
    params = param_shardings(mesh, axes)
    is_names = {"is_leaf": lambda leaf: isinstance(leaf, tuple)}
    shapes = jax.tree.map(
        lambda names: jax.ShapeDtypeStruct((1,) * len(names), jnp.float32), axes, **is_names
    )
    opt_state = optax.tree.map_params(
        tx,
        lambda _, sharding: sharding,
        jax.eval_shape(tx.init, shapes),
        params,
        transform_non_params=lambda _: replicated(mesh),
    )
    return TrainState(replicated(mesh), params, opt_state, params if ema else None)


def abstract_params(family: Family, mesh: Mesh) -> Params:
    """Shapes, types and shardings of the parameters, without computing them.

    Raises UserError where one does not divide over the mesh.
    """
    shapes = jax.eval_shape(family.init, jax.random.key(0))
    shardings = param_shardings(mesh, family.axes)
    require_divisible(shapes, shardings)
    return _with_shardings(shapes, shardings)


def abstract_state(family: Family, tx: optax.GradientTransformation, shardings: TrainState) -> TrainState:
    """Shapes, types and shardings of the state, without computing it.

    Raises UserError where a parameter does not divide over the mesh.
    """

    def create(key: Key) -> TrainState:
        return create_state(family, tx, key, ema=shardings.ema is not None)

    shapes = jax.eval_shape(create, jax.random.key(0))
    require_divisible(shapes.params, shardings.params)
    return _with_shardings(shapes, shardings)


def place_params(params: Params, abstract: Params) -> Params:
    """`params` laid out as `abstract` says; UserError when they are those of another model."""
    given, expected = (
        {jax.tree_util.keystr(path): leaf.shape for path, leaf in jax.tree.leaves_with_path(tree)}
        for tree in (params, abstract)
    )
    for name in sorted({*given, *expected}):
        if given.get(name) != expected.get(name):
            raise UserError(
                f"cannot start from the given model: its parameter {name} has shape {given.get(name)}, "
                f"expected {expected.get(name)}; use a model of the same configuration."
            )
    return jax.device_put(params, jax.tree.map(lambda leaf: leaf.sharding, abstract))


def inference_params(state: TrainState) -> Params:
    """The parameters to evaluate and decode with: the average where there is one."""
    return state.params if state.ema is None else state.ema


def _with_shardings(shapes, shardings):
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        shardings,
    )
