"""Multi-head attention: the mathematics as pure functions, the weights as thin modules."""

import math
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from emnat_jax.config import TransformerSpec
from emnat_jax.models.dropout import dropout, place_key
from emnat_jax.models.sharding import constrain
from emnat_jax.types import NEG_INF, Key

Axes = tuple[tuple[int, str | None], ...]  # (size, logical name) of each dimension


def attend(
    query: Float[Array, "B T H C"],
    key: Float[Array, "B S H C"],
    value: Float[Array, "B S H C"],
    keep: Bool[Array, "B #T S"],
    *,
    rate: float = 0.0,
    dropout_key: Key | None = None,
) -> Float[Array, "B T H C"]:
    """Softmax attention, scaled by C^-1/2; `keep` is True where a query may look.

    Scores and softmax are float32. A query that may look nowhere gets the mean of all values.
    """
    scale = query.shape[-1] ** -0.5
    scores = jnp.einsum("bthc,bshc->bhts", query * scale, key, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(jnp.where(keep[:, None], scores, NEG_INF), axis=-1)
    weights = dropout(dropout_key, weights, rate).astype(value.dtype)
    return jnp.einsum("bhts,bshc->bthc", weights, value, preferred_element_type=jnp.float32)


def attend_fused(
    query: Float[Array, "B T H C"],
    key: Float[Array, "B S H C"],
    value: Float[Array, "B S H C"],
    keep: Bool[Array, "B #T S"],
    implementation: Literal["xla", "cudnn"],
) -> Float[Array, "B T H C"]:
    """The same without dropout, by a kernel that stores no scores (FlashAttention, Dao et al. 2022).

    The kernel's backward pass takes even lengths only: an odd one gets one more place, which nobody looks at.
    """
    queries, keys = query.shape[1], key.shape[1]
    mask = jnp.broadcast_to(keep[:, None], (query.shape[0], 1, queries, keys))
    mask = jnp.pad(mask, ((0, 0), (0, 0), (0, queries % 2), (0, keys % 2)))
    query, key, value = (
        jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0))) for x in (query, key, value)
    )
    attended = jax.nn.dot_product_attention(query, key, value, mask=mask, implementation=implementation)
    return attended[:, :queries].astype(jnp.float32)


def _attend(module, query, key, value, keep):
    """Attention of a whole sequence, by the implementation that the spec names."""
    spec = module.spec
    if spec.attention == "cudnn":
        return attend_fused(query, key, value, keep, "cudnn")
    return attend(query, key, value, keep, rate=spec.attention_dropout, dropout_key=place_key(module))


class Projection(nn.Module):
    """A linear map with bias from the axes `inputs` to the axes `outputs`, in the configured dtype.

    A leading `parts` > 1 stacks independent maps (query, key, value) in one matrix product.
    """

    inputs: tuple[tuple[int, str | None], ...]  # (size, logical axis) of each contracted axis
    outputs: tuple[tuple[int, str | None], ...]
    dtype: str
    parts: int = 1

    @nn.compact
    def __call__(self, x):
        parts = ((self.parts, None),) if self.parts > 1 else ()
        axes = (*self.inputs, *parts, *self.outputs)
        kernel = self._param("kernel", _glorot(len(self.inputs), len(parts)), axes)
        bias = self._param("bias", nn.initializers.zeros_init(), (*parts, *self.outputs))
        contract = tuple(range(x.ndim - len(self.inputs), x.ndim)), tuple(range(len(self.inputs)))
        dtype = jnp.dtype(self.dtype)
        product = jax.lax.dot_general(
            x.astype(dtype), kernel.astype(dtype), (contract, ((), ())), preferred_element_type=jnp.float32
        )
        return product + bias.reshape((1,) * (product.ndim - bias.ndim) + bias.shape)

    def _param(self, name, init, axes):
        sizes, names = zip(*axes)
        return self.param(name, nn.with_logical_partitioning(init, names), sizes, jnp.float32)


def _glorot(inputs: int, parts: int) -> nn.initializers.Initializer:
    """Glorot uniform over one part's fan-in and fan-out (docs/method.md, section 8.1)."""

    def init(key, shape, dtype):
        fan_in, fan_out = math.prod(shape[:inputs]), math.prod(shape[inputs + parts :])
        limit = (6.0 / (fan_in + fan_out)) ** 0.5
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


class SelfAttention(nn.Module):
    """Attention of a sequence to itself; `step` extends cached keys by one position."""

    spec: TransformerSpec

    def setup(self) -> None:
        width, heads = _width(self.spec), _heads(self.spec)
        self.qkv = Projection(width, heads, self.spec.dtype, parts=3)
        self.out = Projection(heads, width, self.spec.dtype)

    def __call__(self, x: Float[Array, "B T D"], keep: Bool[Array, "B #T T"]) -> Float[Array, "B T D"]:
        query, key, value = self._split(x)
        return self.out(_attend(self, query, key, value, keep))

    def step(self, x, cache, position, keep):
        """One position of K beams. x f32[B, K, D]; cache (key, value) [B, T, K, H, C]; keep [B, K, T * K].

        Beams share one pool of T x K cached positions and `keep` says which of them are a beam's
        own past, so that reordering beams moves small masks and never the cache.
        """
        query, *new = self._split(x)
        cache = tuple(
            jax.lax.dynamic_update_slice_in_dim(old, part[:, None].astype(old.dtype), position, axis=1)
            for old, part in zip(cache, new)
        )
        key, value = (c.reshape(c.shape[0], -1, *c.shape[3:]) for c in cache)
        return self.out(attend(query, key, value, keep)), cache

    def _split(self, x):
        qkv = constrain(self.qkv(x).astype(self.spec.dtype), "batch", None, None, "heads", None)
        return qkv[..., 0, :, :], qkv[..., 1, :, :], qkv[..., 2, :, :]


class CrossAttention(nn.Module):
    """Attention of decoder positions to the encoder's output."""

    spec: TransformerSpec

    def setup(self) -> None:
        width, heads = _width(self.spec), _heads(self.spec)
        self.query = Projection(width, heads, self.spec.dtype)
        self.key_value = Projection(width, heads, self.spec.dtype, parts=2)
        self.out = Projection(heads, width, self.spec.dtype)

    def memory(self, encoded: Float[Array, "B S D"]) -> tuple[Array, Array]:
        """Keys and values [B, S, H, C], computed once a sentence."""
        key_value = self.key_value(encoded).astype(self.spec.dtype)
        return key_value[..., 0, :, :], key_value[..., 1, :, :]

    def __call__(
        self, x: Float[Array, "B T D"], memory: tuple[Array, Array], keep: Bool[Array, "B 1 S"]
    ) -> Float[Array, "B T D"]:
        key, value = memory
        return self.out(_attend(self, self.query(x).astype(self.spec.dtype), key, value, keep))


def _width(spec: TransformerSpec) -> Axes:
    return ((spec.width, "embed"),)


def _heads(spec: TransformerSpec) -> Axes:
    return ((spec.heads, "heads"), (spec.width // spec.heads, None))
