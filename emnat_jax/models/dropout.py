"""Dropout with a counter-based hash instead of the default generator.

On a CPU the default generator costs more than the matrix product in front of it. Dropout needs
no cryptographic quality, so every element hashes (key, its index) with an integer mixer of two
multiplications (the finaliser family of MurmurHash3, constants of Pelle Evensen's rrmxmx line).
XLA fuses it into the neighbouring element-wise work. Same key, same mask, on any mesh. A model's places
draw their keys from the same hash: with the default generator these keys were half of a compiled step.
"""

import jax
import jax.extend.random
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from emnat_jax.types import Key


def dropout_rngs(key: Key | None) -> dict[str, Key] | None:
    """The random streams that a module is applied with; None, for a key that is None: no dropout."""
    return None if key is None else {"dropout": hashed_key(key)}


def hashed_key(key: Key) -> Key:
    """A key of the hash, made from one of any generator."""
    words = jax.random.key_data(key).reshape(-1).astype(jnp.uint32)
    return jax.random.wrap_key_data(_fold_in(_fold_in(words[:2], words[0]), words[-1]), impl=_HASH)


def place_key(module: nn.Module) -> Key | None:
    """A key of this place in the model, another one at each call; None in evaluation."""
    return module.make_rng("dropout") if module.has_rng("dropout") else None


def dropout(key: Key | None, x: Float[Array, "..."], rate: float) -> Float[Array, "..."]:
    """`x` with a share `rate` of its elements zero and the others scaled by 1 / (1 - rate).

    `key=None` or `rate=0` is the identity. `key` should be one of the hash (`place_key`, `hashed_key`): the
    bits come from the key's own generator, and others are slow.
    """
    if key is None or rate == 0.0:
        return x
    keep = jax.random.bits(key, x.shape) >= jnp.uint32(round(rate * 2**32))
    return jnp.where(keep, x * (1.0 / (1.0 - rate)), 0.0).astype(x.dtype)


def _random_bits(words: jax.Array, bit_width: int, shape: tuple[int, ...]) -> jax.Array:
    """u32[shape], uniform and independent enough for masks: a hash of the key and the element's index."""
    if bit_width != 32:
        raise NotImplementedError(f"{bit_width} bits of the dropout generator: it has 32 only")
    return _mix(_index(shape) * jnp.uint32(0x9E3779B9) + words[0]) ^ words[1]


def _fold_in(words: jax.Array, number: ArrayLike) -> jax.Array:
    """u32[2]: words that depend on every bit of `words` and `number`."""
    # The sum, so that all zeros are no fixed point.
    moved = jnp.asarray(number * jnp.uint32(0x9E3779B9) + jnp.uint32(0x85EBCA6B))
    first = _mix(words[0] + _mix(moved + words[1]))
    return jax.lax.optimization_barrier(jnp.stack([first, _mix(first ^ words[1])]))


def _split(words: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jax.vmap(_fold_in, (None, 0))(words, _index(shape).reshape(-1)).reshape(*shape, 2)


def _seed(number: jax.Array) -> jax.Array:
    return _fold_in(jnp.zeros(2, jnp.uint32), number.astype(jnp.uint32))


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


_HASH = jax.extend.random.define_prng_impl(
    key_shape=(2,), seed=_seed, split=_split, random_bits=_random_bits, fold_in=_fold_in, name="hash", tag="h"
)
