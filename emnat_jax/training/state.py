"""The arrays of training (parameters, optimiser state, average), and how they are sharded."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from emnat_jax.errors import UserError
from emnat_jax.families.base import Family
from emnat_jax.runtime.mesh import Layout, param_shardings, replicated, require_divisible
from emnat_jax.types import Key, Params

MODULE_DEPTH = 2  # names that lead to a module: "transformer", "encoder"


@struct.dataclass
class TrainState:
    """Everything a training step reads and writes; all float32 but for counters.

    The same container also holds shapes or shardings, so its fields are not checked.
    """

    step: Any  # i32[]; finished steps
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
    """The state before the first step; `initial_params` replace what `init` draws."""
    # Copies: the state is donated to the first step, while the caller keeps its arrays.
    params = _replaced(family.init(key), jax.tree.map(jnp.copy, initial_params or {}))
    average = jax.tree.map(jnp.copy, params) if ema else None
    return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params), average)


def initial_state(
    family: Family,
    tx: optax.GradientTransformation,
    shardings: TrainState,
    layout: Layout,
    key: Key,
    *,
    given: Params | None,
) -> TrainState:
    """The state before the first step on its devices, with an average where `shardings` has one.

    `given` parameters, of all modules or of some, replace random ones; UserError for those of another model.
    """
    params = None if given is None else place_params(given, abstract_params(family, layout))

    def create(key: Key, params: Params | None) -> TrainState:
        return create_state(family, tx, key, ema=shardings.ema is not None, initial_params=params)

    # It runs once: on a CPU, optimising the compiled code takes ten times as long as running it.
    on_cpu = layout.mesh.devices.flat[0].platform == "cpu"
    options = {"xla_backend_optimization_level": 0} if on_cpu else None
    return jax.jit(create, out_shardings=shardings, compiler_options=options)(key, params)


def _replaced(params: Params, given: Params) -> Params:
    """`params` with the leaves that `given`, a part of the same tree, has too replaced by those."""
    return {
        name: (_replaced(value, given[name]) if isinstance(value, dict) else given[name])
        if name in given
        else value
        for name, value in params.items()
    }


def state_shardings(
    axes: Params, tx: optax.GradientTransformation, layout: Layout, *, ema: bool
) -> TrainState:
    """A sharding for each leaf of the state; the moments of the optimiser have those of their parameters."""
    params = param_shardings(layout, axes)
    is_names = {"is_leaf": lambda leaf: isinstance(leaf, tuple)}
    shapes = jax.tree.map(
        lambda names: jax.ShapeDtypeStruct((1,) * len(names), jnp.float32), axes, **is_names
    )
    opt_state = optax.tree.map_params(
        tx,
        lambda leaf, sharding: leaf if _is_left_out(leaf) else sharding,
        jax.eval_shape(tx.init, shapes),
        params,
        transform_non_params=lambda _: replicated(layout.mesh),
        is_leaf=_is_left_out,
    )
    return TrainState(replicated(layout.mesh), params, opt_state, params if ema else None)


def _is_left_out(leaf: Any) -> bool:
    """Whether it stands for a parameter that a part of the optimiser does not see."""
    return isinstance(leaf, optax.MaskedNode)


def abstract_params(family: Family, layout: Layout) -> Params:
    """Shapes, types and shardings of the parameters, without computing them.

    Raises UserError where one does not divide over the mesh.
    """
    shapes = _shapes(family.init)
    shardings = param_shardings(layout, family.axes)
    require_divisible(shapes, shardings)
    return _with_shardings(shapes, shardings)


@functools.lru_cache(maxsize=64)  # a trace takes a quarter of a second, and a model is opened many times
def _shapes(init: Callable[[Key], Params]) -> Params:
    return jax.eval_shape(lambda: init(jax.random.key(0)))


def abstract_state(family: Family, tx: optax.GradientTransformation, shardings: TrainState) -> TrainState:
    """Shapes, types and shardings of the state, without computing it.

    Raises UserError where a parameter does not divide over the mesh.
    """

    def create() -> TrainState:
        return create_state(family, tx, jax.random.key(0), ema=shardings.ema is not None)

    shapes = jax.eval_shape(create)
    require_divisible(shapes.params, shardings.params)
    return _with_shardings(shapes, shardings)


def place_params(params: Params, abstract: Params) -> Params:
    """`params`, some or all modules of a model, with the shardings of `abstract`.

    Raises UserError for parameters of another model; a module (`embedding`, `decoder`) is given whole
    or not at all.
    """
    given, expected = (dict(jax.tree.leaves_with_path(tree)) for tree in (params, abstract))
    modules = {path[:MODULE_DEPTH] for path in given}
    for path in [*given, *(path for path in expected if path[:MODULE_DEPTH] in modules)]:
        has, wants = (getattr(tree.get(path), "shape", None) for tree in (given, expected))
        if has != wants:
            raise UserError(
                f"cannot start from the given model: its parameter {jax.tree_util.keystr(path)} has shape "
                f"{has}, expected {wants}; start from a model of the same sizes, or from "
                "none."
            )
    return jax.tree_util.tree_map_with_path(lambda path, leaf: _placed(leaf, expected[path].sharding), params)


def _placed(array: jax.Array, sharding: jax.sharding.Sharding) -> jax.Array:
    """The array with this sharding. If it has another one, every process must have the whole of it."""
    if array.sharding == sharding:
        return array
    whole = np.asarray(array)
    return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])


def inference_params(state: TrainState) -> Params:
    """The parameters to evaluate and decode with: the average where there is one."""
    return state.params if state.ema is None else state.ema


def _with_shardings(shapes: Any, shardings: Any) -> Any:
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        shardings,
    )
