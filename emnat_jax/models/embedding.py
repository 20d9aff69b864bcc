"""One matrix for source, target and output softmax, and the positions."""

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from emnat_jax.config import TransformerSpec
from emnat_jax.models import initial
from emnat_jax.models.output_layer import OutputLayer
from emnat_jax.models.sharding import rows_of
from emnat_jax.types import NEG_INF

VOCAB_MULTIPLE = 128  # tile of the matrix units; a multiple of any sensible model axis


def padded_vocab(spec: TransformerSpec) -> int:
    """Rows of the embedding: the vocabulary rounded up, the rest is never generated."""
    return -(-spec.vocab_size // VOCAB_MULTIPLE) * VOCAB_MULTIPLE


class Embedding(nn.Module):
    """One matrix for source, target and output softmax, and the positions."""

    spec: TransformerSpec

    def setup(self) -> None:
        spec = self.spec
        init = initial.vectors(spec)
        vocab = padded_vocab(spec)
        self.tokens = self._param("tokens", init, ("vocab", "embed"), vocab, spec.width)
        self.output_bias = self._param("output_bias", nn.initializers.zeros_init(), ("vocab",), vocab)
        if spec.positions == "learned":
            self.positions = self._param("positions", init, ("position", "embed"), self.slots, spec.width)

    @property
    def slots(self) -> int:
        """Positions in the table. The last is not used: without it models of before would not fit."""
        return self.spec.max_length + 1

    def _param(self, name, init, axes, *shape):
        return self.param(name, nn.with_logical_partitioning(init, axes), shape, jnp.float32)

    def __call__(self, tokens: Int[Array, "B T"], start: int = 0) -> Float[Array, "B T D"]:
        """Scaled token embeddings plus positions start, start + 1, ..."""
        return self.lookup(tokens) + self.position(start + jnp.arange(tokens.shape[1]))[None]

    def lookup(self, tokens):
        return rows_of(self.tokens, tokens, "vocab") * self.spec.width**0.5

    def position(self, index):
        """f32[..., D] of positions; learned ones are scaled like the tokens (docs/method.md, section 8.1)."""
        if self.spec.positions == "learned":
            return self.positions[index] * self.spec.width**0.5
        return sinusoids(self.slots, self.spec.width)[index]

    def output(self, allowed: Bool[Array | np.ndarray, " V"]) -> OutputLayer:
        """The output layer, whose ids that are not allowed get scores of about `NEG_INF`."""
        # The mask rides on the bias: a pass of its own over [B, T, V] costs as much as a layer.
        bias = jnp.where(allowed, self.output_bias, NEG_INF)
        return OutputLayer(self.tokens, bias, self.spec.dtype)


def sinusoids(length: int, width: int) -> Float[Array, "length width"]:
    """Sine half, then cosine half, wavelengths 2 pi to 10000 * 2 pi (Vaswani et al. 2017, 3.5)."""
    rate = 10_000.0 ** (-jnp.arange(width // 2) / max(width // 2 - 1, 1))
    angle = jnp.arange(length)[:, None] * rate[None]
    table = jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
    return jnp.pad(table, ((0, 0), (0, width - table.shape[1])))
