"""Dropout with a counter-based hash instead of the key's own generator.

On a CPU the default generator costs more than the matrix product in front of it. Dropout needs
no cryptographic quality, so every element hashes (key, its index) with an integer mixer of two
multiplications (the finaliser family of MurmurHash3, constants of Pelle Evensen's rrmxmx line).
XLA fuses it into the neighbouring element-wise work. Same key, same mask, on any mesh.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from emnat_jax.types import Key


def dropout(key: Key | None, x: Float[Array, "..."], rate: float) -> Float[Array, "..."]:
    """`x` with a share `rate` of its elements zero and the others scaled by 1 / (1 - rate).

    `key=None` or `rate=0` is the identity.
    """
    if key is None or rate == 0.0:
        return x
    keep = hash_bits(key, x.shape) >= jnp.uint32(round(rate * 2**32))
    return jnp.where(keep, x * (1.0 / (1.0 - rate)), 0.0).astype(x.dtype)


def hash_bits(key: Key, shape: tuple[int, ...]) -> jax.Array:
    """u32[shape], uniform and independent enough for masks: a hash of the key and the element's index."""
    words = jax.random.key_data(key).reshape(-1).astype(jnp.uint32)
    first = _mix(words[0] * jnp.uint32(0x85EBCA6B) + words[-1] * jnp.uint32(0xC2B2AE35) + jnp.uint32(1))
    second = _mix(first ^ words[-1])
    return _mix(_index(shape) * jnp.uint32(0x9E3779B9) + first) ^ second


def _mix(bits: jax.Array) -> jax.Array:
    """A bijection of u32 in which every input bit moves every output bit."""
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x21F0AAAD)
    bits = (bits ^ (bits >> 15)) * jnp.uint32(0x735A2D97)
    return bits ^ (bits >> 15)


def _index(shape: tuple[int, ...]) -> jax.Array:
    """u32[shape]: each element's position in row-major order (modulo 2^32)."""
    index = jnp.zeros(shape, jnp.uint32)
    stride = 1
    for axis in reversed(range(len(shape))):
        index += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride % 2**32)
        stride *= shape[axis]
    return index
