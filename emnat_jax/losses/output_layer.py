"""The output layer and its label-smoothed cross-entropy in one pass over the vocabulary.

Logits of all positions, kept for the backward pass, are the largest arrays of training, and their gradient is
as large again. Here a few thousand positions after the other get their logits, their loss and its gradient at
once, and neither is kept (the idea of Liger Kernel's fused linear cross-entropy, Hsu et al. 2024, 3.2).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from emnat_jax.losses.cross_entropy import change_of_logits

ROWS = 4_096  # positions on a device whose logits exist at once; enough to keep its matrix units busy


class Targets(NamedTuple):
    """What the model should say at each position, and how much that counts; without a gradient."""

    tokens: jax.Array  # i32[B, T]
    weight: jax.Array  # f32[B, T]
    allowed: Array | np.ndarray  # bool[V]; the classes that can be generated


class Sums(NamedTuple):
    """Over all positions, each times its weight; nats, float32."""

    loss: jax.Array  # f32[]
    nll: jax.Array  # f32[]; without smoothing; it has no gradient


class _Layer(NamedTuple):
    """What the logits are made of, and the distribution that smoothing mixes in."""

    table: jax.Array  # [V, D] in the dtype of products
    bias: jax.Array  # f32[V]
    uniform: jax.Array  # f32[V]; over the allowed classes
    mean_row: jax.Array  # f32[D]; of the table under it
    mean_bias: jax.Array  # f32[]


class _Part(NamedTuple):
    """Some positions of all rows: each [B, positions, ...], stacked [parts, B, positions, ...]."""

    states: jax.Array
    tokens: jax.Array
    weight: jax.Array


class _Options(NamedTuple):
    smoothing: float
    dtype: str
    rows: int


def smoothed_loss_sums(
    states: Float[Array, "B T D"],
    table: Float[Array, "V D"],
    bias: Float[Array, " V"],
    targets: Targets,
    *,
    smoothing: float,
    dtype: str = "float32",
    rows: int = ROWS,
) -> Sums:
    """Sums of `smoothed_cross_entropy` and of -log p over the logits states . table^T + bias.

    The products are computed in `dtype` and summed in float32. Differentiable by states, table and bias.
    Classes that are not allowed have a bias of about NEG_INF. About `rows` positions, of all devices
    together, get their logits at once.
    """
    return _loss_sums(states, table, bias, targets, _Options(smoothing, dtype, rows))


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _loss_sums(states: Array, table: Array, bias: Array, targets: Targets, options: _Options) -> Sums:
    layer = _layer(table, bias, targets.allowed, options.dtype)

    def add(sums: Sums, part: _Part) -> tuple[Sums, None]:
        return _added(sums, _sums(layer, _logits(layer, part.states), part, options.smoothing)[0]), None

    return jax.lax.scan(add, _zero(), _parts(states, targets, options.rows))[0]


def _forward(states, table, bias, targets, options):
    """The sums, and the gradients of the loss by states, table and bias."""
    layer = _layer(table, bias, targets.allowed, options.dtype)

    def add(carry: tuple, part: _Part) -> tuple[tuple, jax.Array]:
        sums, by_dimension, of_bias = carry
        logits = _logits(layer, part.states)
        new, normaliser = _sums(layer, logits, part, options.smoothing)
        tokens, weight = part.tokens.reshape(-1), part.weight.reshape(-1, 1)
        change = change_of_logits(logits, normaliser, tokens, layer.uniform, options.smoothing)
        change = (weight * change).astype(options.dtype)
        of_states = _dot(change, layer.table)
        # The small operand is transposed, and the sum of all parts: never the gradient of the logits.
        columns = jax.lax.optimization_barrier(_positions_of(part.states).astype(options.dtype).T)
        by_dimension += _dot(columns, change)
        of_bias += jnp.sum(change, axis=0, dtype=jnp.float32)
        return (_added(sums, new), by_dimension, of_bias), of_states.reshape(part.states.shape)

    start = _zero(), jnp.zeros(table.T.shape, jnp.float32), jnp.zeros(bias.shape, jnp.float32)
    (sums, by_dimension, of_bias), of_states = jax.lax.scan(add, start, _parts(states, targets, options.rows))
    whole = jnp.moveaxis(of_states, 0, 1).reshape(states.shape[0], -1, states.shape[2])
    of_states = whole[:, : states.shape[1]].astype(states.dtype)
    return sums, (of_states, jax.lax.optimization_barrier(by_dimension).T, of_bias)


def _backward(options, gradients, cotangent):
    return (*(cotangent.loss * gradient for gradient in gradients), None)


_loss_sums.defvjp(_forward, _backward)


def _layer(table: Array, bias: Array, allowed: Array | np.ndarray, dtype: str) -> _Layer:
    uniform = jnp.asarray(allowed, jnp.float32) / jnp.sum(allowed)
    mean_row = jnp.dot(uniform, table, precision="highest")
    return _Layer(table.astype(dtype), bias, uniform, mean_row, jnp.sum(uniform * bias))


def _parts(states: Array, targets: Targets, rows: int) -> _Part:
    """All parts, filled up with positions of weight 0.

    They are of positions, not of rows: the rows may be spread over devices.
    """
    batch, length = targets.tokens.shape
    count = max(1, -(-batch * length // rows))
    size = -(-length // count)
    count = -(-length // size)

    def split(x: Array) -> Array:
        filled = jnp.pad(x, ((0, 0), (0, count * size - length), *((0, 0),) * (x.ndim - 2)))
        return jnp.moveaxis(filled.reshape(batch, count, size, *x.shape[2:]), 1, 0)

    return _Part(split(states), split(targets.tokens), split(targets.weight))


def _logits(layer: _Layer, states: Array) -> Float[Array, "N V"]:
    logits = _dot(_positions_of(states).astype(layer.table.dtype), layer.table, (1, 1)) + layer.bias[None]
    return nn.with_logical_constraint(logits, ("batch", "vocab"))


def _sums(layer: _Layer, logits: Array, part: _Part, smoothing: float) -> tuple[Sums, jax.Array]:
    """The sums over these positions, and each one's normaliser f32[N]."""
    normaliser = jax.nn.logsumexp(logits, axis=-1)
    chosen = jnp.take_along_axis(logits, part.tokens.reshape(-1, 1), axis=1)[:, 0]
    states = _positions_of(part.states).astype(jnp.float32)
    uniform = jnp.dot(states, layer.mean_row, precision="highest") + layer.mean_bias
    wanted = (1.0 - smoothing) * chosen + smoothing * uniform
    weight = part.weight.reshape(-1)
    return Sums(jnp.sum(weight * (normaliser - wanted)), jnp.sum(weight * (normaliser - chosen))), normaliser


def _dot(a: Array, b: Array, over: tuple[int, int] = (1, 0)) -> jax.Array:
    """Product over one axis of each, summed in float32."""
    return jax.lax.dot_general(a, b, ((over[:1], over[1:]), ((), ())), preferred_element_type=jnp.float32)


def _positions_of(x: Array) -> jax.Array:
    return x.reshape(-1, x.shape[-1])


def _zero() -> Sums:
    return Sums(jnp.zeros(()), jnp.zeros(()))


def _added(sums: Sums, more: Sums) -> Sums:
    return Sums(sums.loss + more.loss, sums.nll + more.nll)
