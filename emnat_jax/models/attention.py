"""Multi-head attention: the mathematics as pure functions, the weights as thin modules."""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from emnat_jax.config import TransformerSpec
from emnat_jax.models import initial
from emnat_jax.models.dropout import dropout, place_key
from emnat_jax.models.products import product
from emnat_jax.models.sharding import constrain
from emnat_jax.types import NEG_INF, Key

Axes = tuple[tuple[int, str | None], ...]  # (size, logical name) of each dimension


@struct.dataclass
class Visible:
    """The keys that queries may look at: the real ones, which stand before the padding of their row."""

    keep: jax.Array  # bool[B, S]; True where a key is real
    causal: bool = struct.field(pytree_node=False, default=False)  # a query sees no key behind itself

    def mask(self) -> Bool[Array, "B #T S"]:
        """True where a query may look; one row for all queries unless they see different keys."""
        size, keep = self.keep.shape[1], self.keep[:, None]
        return keep & jnp.tril(jnp.ones((size, size), bool))[None] if self.causal else keep


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


def attend_cached(
    query: Float[Array, "B K H C"],
    key: Float[Array, "B H C P"],
    value: Float[Array, "B H P C"],
    keep: Bool[Array, "B #K P"],
) -> Float[Array, "B K H C"]:
    """Attention of one position of K beams, or of K positions, to P places of a cache, without dropout.

    The cache lies as the two products read it. In another order a CPU copies all of it at every position,
    which costs five times what the products do.
    """
    query = query.swapaxes(1, 2) * query.shape[-1] ** -0.5
    scores = jnp.einsum("bhkc,bhcp->bhkp", query, key, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(jnp.where(keep[:, None], scores, NEG_INF), axis=-1).astype(value.dtype)
    attended = jnp.einsum("bhkp,bhpc->bhkc", weights, value, preferred_element_type=jnp.float32)
    return attended.swapaxes(1, 2)


def attend_fused(
    query: Float[Array, "B T H C"],
    key: Float[Array, "B S H C"],
    value: Float[Array, "B S H C"],
    visible: Visible,
    implementation: Literal["xla", "cudnn"],
) -> Float[Array, "B T H C"]:
    """The same without dropout, by a kernel that stores no scores (FlashAttention, Dao et al. 2022).

    The kernel knows the number of real keys and the causal order without reading a mask. Its backward pass
    takes even lengths only: an odd one gets one more place, which nobody looks at.
    """
    queries, lengths = query.shape[1], jnp.sum(visible.keep, axis=1, dtype=jnp.int32)
    query, key, value = (
        jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0))) for x in (query, key, value)
    )
    attended = jax.nn.dot_product_attention(
        query,
        key,
        value,
        key_value_seq_lengths=lengths,
        is_causal=visible.causal,
        implementation=implementation,
    )
    return attended[:, :queries]


def _attend(module, query, key, value, visible):
    """Attention of a whole sequence, by the implementation that the spec names."""
    spec = module.spec
    if spec.attention == "cudnn":
        return attend_fused(query, key, value, visible, "cudnn")
    mask, dropout_key = visible.mask(), place_key(module)
    return attend(query, key, value, mask, rate=spec.attention_dropout, dropout_key=dropout_key)


class Projection(nn.Module):
    """A linear map with bias from the axes `inputs` to the axes `outputs`, in the configured dtype.

    A leading `parts` > 1 stacks independent maps (query, key, value) in one matrix product.
    """

    inputs: tuple[tuple[int, str | None], ...]  # (size, logical axis) of each contracted axis
    outputs: tuple[tuple[int, str | None], ...]
    spec: TransformerSpec
    parts: int = 1

    @nn.compact
    def __call__(self, x):
        parts = ((self.parts, None),) if self.parts > 1 else ()
        axes = (*self.inputs, *parts, *self.outputs)
        kernel = self._param("kernel", initial.linear_map(self.spec, len(self.inputs), len(parts)), axes)
        bias = self._param("bias", nn.initializers.zeros_init(), (*parts, *self.outputs))
        product = _times_kernel(x, kernel, len(self.inputs), self.spec.dtype)
        return product + bias.reshape((1,) * (product.ndim - bias.ndim) + bias.shape)

    def _param(self, name, init, axes):
        sizes, names = zip(*axes)
        return self.param(name, nn.with_logical_partitioning(init, names), sizes, jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _times_kernel(x: Array, kernel: Array, axes: int, dtype: str) -> Array:
    """x . kernel over the last `axes` axes of `x` and the first of `kernel`, in `dtype`."""
    contract = tuple(range(x.ndim - axes, x.ndim)), tuple(range(axes))
    return product(x, kernel, contract, dtype, kept=dtype)


def _times_kernel_forward(x, kernel, axes, dtype):
    like = jnp.zeros(0, x.dtype)  # only remembers the type
    return _times_kernel(x, kernel, axes, dtype), (x.astype(dtype), kernel, like)


def _times_kernel_backward(axes, dtype, saved, gradient):
    """As automatic differentiation has it, but the gradient of the weights is kept in float32."""
    x, kernel, like = saved
    rows = tuple(range(x.ndim - axes))
    outputs = tuple(range(len(rows), gradient.ndim)), tuple(range(axes, kernel.ndim))
    change = product(gradient, kernel, outputs, dtype, kept=dtype).astype(like.dtype)
    return change, _over_rows(x, gradient, rows, dtype)


def _over_rows(x: Array, gradient: Array, rows: tuple[int, ...], dtype: str) -> Array:
    """The gradient of the weights, a product over all rows: x^T . gradient.

    The first operand of a product over rows is copied transposed on a CPU, so the smaller one goes first.
    """
    if x.size <= gradient.size:
        return product(x, gradient, (rows, rows), dtype)
    by_output = jax.lax.optimization_barrier(product(gradient, x, (rows, rows), dtype))
    outputs = gradient.ndim - len(rows)
    return jnp.moveaxis(by_output, range(outputs), range(-outputs, 0))


_times_kernel.defvjp(_times_kernel_forward, _times_kernel_backward)


class SelfAttention(nn.Module):
    """Attention of a sequence to itself; `step` extends cached keys."""

    spec: TransformerSpec

    def setup(self) -> None:
        width, heads = _width(self.spec), _heads(self.spec)
        self.qkv = Projection(width, heads, self.spec, parts=3)
        self.out = Projection(heads, width, self.spec)

    def __call__(self, x: Float[Array, "B T D"], visible: Visible) -> Float[Array, "B T D"]:
        query, key, value = self._split(x)
        return self.out(_attend(self, query, key, value, visible))

    def step(self, x, cache, write, keep):
        """One position of K beams, or K positions of one output. x f32[B, K, D]; keep [B, K, P].

        `cache` is as `attend_cached` has it, and `write` puts the new keys and values there. Beams share one
        pool of P = T x K cached positions and `keep` says which of them are a beam's own past, so that
        reordering beams moves small masks and never the cache.
        """
        query, key, value = self._split(x)
        cache = tuple(
            write(old, new.astype(old.dtype), axis)
            for old, new, axis in zip(cache, as_cached(key, value), (3, 2), strict=True)
        )
        return self.out(attend_cached(query, cache[0], cache[1], keep)), cache

    def _split(self, x):
        qkv = constrain(self.qkv(x).astype(self.spec.dtype), "batch", None, None, "heads", None)
        return _parts(qkv)


class CrossAttention(nn.Module):
    """Attention of decoder positions to the encoder's output."""

    spec: TransformerSpec

    def setup(self) -> None:
        width, heads = _width(self.spec), _heads(self.spec)
        self.query = Projection(width, heads, self.spec)
        self.key_value = Projection(width, heads, self.spec, parts=2)
        self.out = Projection(heads, width, self.spec)

    def memory(self, encoded: Float[Array, "B S D"]) -> tuple[Array, Array]:
        """Keys and values [B, S, H, C] of a sentence."""
        key, value = _parts(self.key_value(encoded).astype(self.spec.dtype))
        return key, value

    def __call__(
        self, x: Float[Array, "B T D"], memory: tuple[Array, Array], visible: Visible
    ) -> Float[Array, "B T D"]:
        key, value = memory
        return self.out(_attend(self, self.query(x).astype(self.spec.dtype), key, value, visible))

    def step(self, x, cache, visible):
        """As `SelfAttention.step`; cache: `as_cached` of the memory, one for all beams."""
        key, value = cache
        return self.out(attend_cached(self.query(x).astype(self.spec.dtype), key, value, visible.mask()))


def as_cached(
    key: Float[Array, "B S H C"], value: Float[Array, "B S H C"]
) -> tuple[Float[Array, "B H C S"], Float[Array, "B H S C"]]:
    """Keys and values in the order that `attend_cached` reads."""
    return key.transpose(0, 2, 3, 1), value.swapaxes(1, 2)


def write_beams(old: Array, new: Array, axis: int, *, position: Array) -> Array:
    """A cache with the new places of K beams, which all stand at `position`."""
    return jax.lax.dynamic_update_slice_in_dim(old, new, position * new.shape[axis], axis=axis)


def write_rows(old: Array, new: Array, axis: int, *, position: Int[Array, " B"]) -> Array:
    """A cache with the new places of each row from its own `position` on; what is past the end is dropped."""
    place = jnp.arange(old.shape[axis])[None] - position[:, None]
    is_new = (place >= 0) & (place < new.shape[axis])
    shape = [len(position)] + [1] * (old.ndim - 1)
    shape[axis] = old.shape[axis]
    index = jnp.where(is_new, place, 0).reshape(shape)
    return jnp.where(is_new.reshape(shape), jnp.take_along_axis(new, index, axis=axis), old)


@jax.custom_vjp
def _parts(x: Float[Array, "B T P H C"]) -> tuple[Float[Array, "B T H C"], ...]:
    """The P parts of a projection. Their gradients are stacked; those of slices would be padded and added."""
    return tuple(x[..., part, :, :] for part in range(x.shape[-3]))


_parts.defvjp(lambda x: (_parts(x), None), lambda _, gradients: (jnp.stack(gradients, axis=-3),))


def _width(spec: TransformerSpec) -> Axes:
    return ((spec.width, "embed"),)


def _heads(spec: TransformerSpec) -> Axes:
    return ((spec.heads, "heads"), (spec.width // spec.heads, None))
