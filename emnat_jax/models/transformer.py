"""The one Transformer that every family uses: embedding, encoder, decoder (causal or not).

Sizes and details follow docs/method.md, section 8, without the faults listed in section 14; `norm="pre"` adds
a final layer norm to each stack and drops the one on the embeddings.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from emnat_jax.config import TransformerSpec
from emnat_jax.models.attention import (
    CrossAttention,
    Projection,
    SelfAttention,
    Visible,
    as_cached,
    write_beams,
    write_rows,
)
from emnat_jax.models.dropout import dropout, place_key
from emnat_jax.models.embedding import Embedding
from emnat_jax.models.sharding import constrain, constrain_rows
from emnat_jax.models.stack import Stack
from emnat_jax.types import PAD

NORM_EPSILON = 1e-6  # what layer norm adds to the variance
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": nn.relu,
    "gelu": functools.partial(nn.gelu, approximate=False),
}


class Encoded(NamedTuple):
    """What the decoder sees of a source."""

    states: jax.Array  # f32[B, S, D]
    keep: jax.Array  # bool[B, S]


@struct.dataclass
class Given:
    """What every decoder layer is given besides its input."""

    encoded: Encoded
    visible: Visible
    tells: bool = struct.field(pytree_node=False)  # a layer also gives its output to whoever runs the stack


class Cache(NamedTuple):
    """State of step-by-step decoding of K beams for B sources, for outputs of at most T tokens."""

    layers: Any  # a layer: (key [B, H, C, T * K], value [B, H, T * K, C]), the same of S source positions
    keep: jax.Array  # bool[B, S]
    ancestry: jax.Array  # i32[B, K, T]; which beam's slot holds each position of a beam's past


def layer_norm(name: str | None = None) -> nn.LayerNorm:
    """Layer norm in float32 with scale and bias."""
    partition = functools.partial(nn.with_logical_partitioning, names=("embed",))
    return nn.LayerNorm(
        epsilon=NORM_EPSILON,
        scale_init=partition(nn.initializers.ones_init()),
        bias_init=partition(nn.initializers.zeros_init()),
        name=name,
    )


class FeedForward(nn.Module):
    """A layer of ReLU or GELU between two linear maps."""

    spec: TransformerSpec

    @nn.compact
    def __call__(self, x):
        spec = self.spec
        width, hidden = ((spec.width, "embed"),), ((spec.ff_width, "mlp"),)
        x = ACTIVATIONS[spec.activation](Projection(width, hidden, spec, name="up")(x))
        x = constrain(x, "batch", None, "mlp")
        return Projection(hidden, width, spec, name="down")(_drop(self, x, spec.ff_dropout))


class Residual(nn.Module):
    """x + dropout(sublayer(x)) with the layer norm before (pre) or after (post)."""

    spec: TransformerSpec

    def setup(self) -> None:
        self.norm = layer_norm()

    def before(self, x):
        return self.norm(x) if self.spec.norm == "pre" else x

    def after(self, x, change):
        x = constrain_rows(x + _drop(self, change, self.spec.dropout))
        return x if self.spec.norm == "pre" else self.norm(x)


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward. Signature of a scanned layer: (carry, own, shared)."""

    spec: TransformerSpec

    def setup(self) -> None:
        self.attention, self.feed_forward = SelfAttention(self.spec), FeedForward(self.spec)
        self.residuals = [Residual(self.spec) for _ in range(2)]

    def __call__(self, x, own, visible):
        first, second = self.residuals
        x = first.after(x, self.attention(first.before(x), visible))
        return second.after(x, self.feed_forward(second.before(x))), own


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention, feed-forward. (carry, own, shared) -> (carry, own)."""

    spec: TransformerSpec

    def setup(self) -> None:
        self.attention, self.cross = SelfAttention(self.spec), CrossAttention(self.spec)
        self.feed_forward = FeedForward(self.spec)
        self.residuals = [Residual(self.spec) for _ in range(3)]

    def __call__(self, x, own, given):
        encoded = given.encoded
        first, *_ = self.residuals
        x = first.after(x, self.attention(first.before(x), given.visible))
        memory = self.cross.memory(encoded.states)
        cross = functools.partial(self.cross, memory=memory, visible=Visible(encoded.keep))
        x = self._rest(x, cross)
        return x, (x if given.tells else own)

    def start(self, states, own, shared):
        """Cached cross-attention keys and values of encoder states."""
        return states, as_cached(*self.cross.memory(states))

    def step(self, x, own, shared):
        past, memory = own
        write, keep, memory_keep = shared
        first, *_ = self.residuals
        change, past = self.attention.step(first.before(x), past, write, keep)
        cross = functools.partial(self.cross.step, cache=memory, visible=Visible(memory_keep))
        return self._rest(first.after(x, change), cross), (past, memory)

    def _rest(self, x, cross):
        _, second, third = self.residuals
        x = second.after(x, cross(second.before(x)))
        return third.after(x, self.feed_forward(third.before(x)))


class Transformer(nn.Module):
    """Encoder and decoder over one embedding; `causal` decides what a decoder position sees."""

    spec: TransformerSpec
    causal: bool

    def setup(self) -> None:
        spec = self.spec
        self.embedding = Embedding(spec)
        self.encoder = Stack(spec, EncoderLayer, spec.encoder_layers)
        self.decoder = Stack(spec, DecoderLayer, spec.decoder_layers)
        # Pre-norm normalises the output of a stack, post-norm (docs/method.md, section 8.1) its input.
        self.encoder_norm, self.decoder_norm = layer_norm(), layer_norm()
        partition = nn.with_logical_partitioning(nn.initializers.zeros_init(), ("embed",))
        self.source_bias: Any = self.param("source_bias", partition, (spec.width,), jnp.float32)

    def encode(self, source: Int[Array, "B S"], *, slot: Float[Array, " D"] | None = None) -> Encoded:
        """Encoder output; a `slot` stands before the words with this vector, and takes no position.

        So the words stand where they stand without it, and an encoder can be shared.
        """
        x = self.embedding(source)
        keep = source != PAD
        if slot is not None:
            x = jnp.pad(x, ((0, 0), (1, 0), (0, 0))).at[:, 0].set(slot)
            keep = jnp.pad(keep, ((0, 0), (1, 0)), constant_values=True)
        x = x + self.source_bias[None, None]
        x, _ = self.encoder(self._enter(x, self.encoder_norm), shared=Visible(keep))
        return Encoded(self._leave(x, self.encoder_norm), keep)

    def decode(
        self, inputs: Float[Array, "B T D"], encoded: Encoded, keep: Bool[Array, "B T"]
    ) -> Float[Array, "B T D"]:
        """Decoder output for embedded inputs; positions with keep False are unseen."""
        given = Given(encoded, Visible(keep, self.causal), tells=False)
        x, _ = self.decoder(self._enter(inputs, self.decoder_norm), shared=given)
        return self._leave(x, self.decoder_norm)

    def decode_by_layer(
        self, inputs: Float[Array, "B T D"], encoded: Encoded, keep: Bool[Array, "B T"]
    ) -> list[Float[Array, "B T D"]]:
        """As `decode`, of each layer as if it were the last; the last of them is what `decode` returns."""
        given = Given(encoded, Visible(keep, self.causal), tells=True)
        _, outputs = self.decoder(self._enter(inputs, self.decoder_norm), shared=given)
        return [self._leave(x, self.decoder_norm) for x in outputs]

    def start(self, encoded: Encoded, beams: int, length: int) -> Cache:
        """An empty cache for `beams` outputs of at most `length` tokens for each source."""
        batch, heads = encoded.states.shape[0], self.spec.heads
        _, memory = self.decoder(encoded.states, method="start")
        empty = jnp.zeros((batch, length * beams, heads, self.spec.width // heads), self.spec.dtype)
        past = tuple(constrain(x, "batch", "heads", None, None) for x in as_cached(empty, empty))
        layers = [(past, m) for m in memory]
        slots = jnp.arange(beams, dtype=jnp.int32)[None, :, None]
        return Cache(layers, encoded.keep, jnp.broadcast_to(slots, (batch, beams, length)))

    def step(self, tokens: Int[Array, "B K"], cache: Cache, position: Array) -> tuple[Array, Cache]:
        """Decoder output [B, K, D] for `tokens`, which stand at `position`, and the new cache."""
        batch, beams, length = cache.ancestry.shape
        slots = jnp.arange(beams, dtype=jnp.int32)
        own = jnp.broadcast_to(slots[None, :, None], (batch, beams, 1))
        ancestry = jax.lax.dynamic_update_slice_in_dim(cache.ancestry, own, position, axis=2)
        past = jnp.arange(length)[:, None] <= position
        keep = (ancestry[..., None] == slots[None, None, None]) & past[None, None]
        x = self.embedding.lookup(tokens) + self.embedding.position(position)[None, None]
        keep = keep.reshape(batch, beams, length * beams)
        write = functools.partial(write_beams, position=position)
        return self._cached(x, cache._replace(ancestry=ancestry), write, keep)

    def block(
        self, tokens: Int[Array, "B W"], cache: Cache, position: Int[Array, " B"]
    ) -> tuple[Float[Array, "B W D"], Cache]:
        """Decoder output for W tokens of one output a row, which stand at `position[b]` and behind it.

        The cache is one of a single beam. What it holds from `position[b]` on is not seen, and is replaced:
        so a row may go back to any earlier position.
        """
        length, place = cache.ancestry.shape[2], position[:, None] + jnp.arange(tokens.shape[1])[None]
        keep = jnp.arange(length)[None, None] <= place[..., None]
        x = self.embedding.lookup(tokens) + self.embedding.position(jnp.minimum(place, length - 1))
        return self._cached(x, cache, functools.partial(write_rows, position=position), keep)

    def _cached(self, x, cache, write, keep):
        x = self._enter(x, self.decoder_norm)
        x, layers = self.decoder(x, cache.layers, (write, keep, cache.keep), method="step")
        return self._leave(x, self.decoder_norm), cache._replace(layers=layers)

    def _enter(self, x, norm):
        x = constrain_rows(x)
        if self.spec.norm == "post":
            x = norm(_drop(self, x, self.spec.dropout))  # docs/method.md, 8.1: dropout before this norm
            return x
        return _drop(self, x, self.spec.dropout)

    def _leave(self, x, norm):
        return norm(x) if self.spec.norm == "pre" else x


def reorder(cache: Cache, beams: Int[Array, "B K"]) -> Cache:
    """The cache after beam k has become a continuation of beam `beams[b, k]`."""
    ancestry = jnp.take_along_axis(cache.ancestry, beams[..., None], axis=1)
    return cache._replace(ancestry=ancestry)


def _drop(module: nn.Module, x: Array, rate: float) -> Array:
    return dropout(place_key(module), x, rate)
