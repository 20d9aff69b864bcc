"""Where activations lie on the devices."""

import jax
from flax import linen as nn


def spread(x: jax.Array, *axes: str | None) -> jax.Array:
    """`x` with each of its axes spread over devices as the rules say of that logical axis (None: whole).

    The rules are those of `training/layout.py: use_layout`; outside of it `x` stays as it is. Without this the
    compiler lets the weights' layout leak into activations, and pays for it in gathers and memory.
    """
    return nn.with_logical_constraint(x, axes)


def spread_rows(x: jax.Array) -> jax.Array:
    """`x` with its rows, the first axis, spread and all others whole."""
    return spread(x, "batch", *(None,) * (x.ndim - 1))
