"""Matrix products in a dtype of choice."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

Axes = tuple[int, ...]


def product(a: Array, b: Array, over: tuple[Axes, Axes], dtype: str, *, kept: str = "float32") -> jax.Array:
    """Product over these axes of each of two arrays in `dtype`, summed in float32, kept as `kept`."""

    def of(a: Array, b: Array, result: str = kept) -> jax.Array:
        return jax.lax.dot_general(a, b, (over, ((), ())), preferred_element_type=jnp.dtype(result))

    a, b = a.astype(dtype), b.astype(dtype)
    if kept == "float32":
        return of(a, b)
    # The matrix units of a CPU are used for bfloat16 only where the result is float32.
    return jax.lax.platform_dependent(a, b, cpu=lambda a, b: of(a, b, "float32").astype(kept), default=of)
