"""A parallel decoder that starts from the source: each source position becomes several decoder positions."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from emnat_jax.config import TransformerSpec
from emnat_jax.models import initial
from emnat_jax.models.attention import Projection
from emnat_jax.models.embedding import sinusoids
from emnat_jax.models.output_layer import OutputLayer
from emnat_jax.models.transformer import Encoded, Transformer
from emnat_jax.types import HIDDEN


class UpsampledDecoder(nn.Module):
    """Encoder, a learned split of each of its outputs in `factor` positions, decoder over those.

    The split is a linear map per offset (Libovicky & Helcl, EMNLP 2018, 3). PAD sources give positions
    that no other sees.
    """

    spec: TransformerSpec
    factor: int

    def setup(self) -> None:
        spec = self.spec
        self.transformer = Transformer(spec, causal=False)
        inputs, outputs = ((spec.width, "embed"),), ((spec.width, None),)
        self.split = Projection(inputs, outputs, spec, parts=self.factor)
        if spec.positions == "learned":
            init = nn.with_logical_partitioning(initial.vectors(spec), ("position", "embed"))
            shape = (self.factor * spec.max_length, spec.width)
            self.positions: Any = self.param("positions", init, shape, jnp.float32)

    def __call__(self, source: Int[Array, "B S"]) -> Any:
        """What is predicted with nothing revealed."""
        return self.predict(self.encode(source))

    def predict(self, encoded: Encoded, revealed: Int[Array, "B L"] | None = None) -> Any:
        """What the decoder says of its positions: here its output, in families a NamedTuple with `logits`."""
        return self.states(encoded, revealed)

    def encode(self, source: Int[Array, "B S"]) -> Encoded:
        """What the decoder starts from and looks at."""
        return self.transformer.encode(source)

    def keep(self, encoded: Encoded) -> Bool[Array, "B L"]:
        """True at the decoder positions of real source tokens."""
        return jnp.repeat(encoded.keep, self.factor, axis=1)

    def states(self, encoded: Encoded, revealed: Int[Array, "B L"] | None = None) -> Float[Array, "B L D"]:
        """Decoder output; positions with a token in `revealed` start from that instead of the source."""
        return self.transformer.decode(*self._given(encoded, revealed))

    def states_by_layer(
        self, encoded: Encoded, revealed: Int[Array, "B L"] | None = None
    ) -> list[Float[Array, "B L D"]]:
        """As `states`, after each decoder layer."""
        return self.transformer.decode_by_layer(*self._given(encoded, revealed))

    def _given(
        self, encoded: Encoded, revealed: Int[Array, "B L"] | None
    ) -> tuple[Float[Array, "B L D"], Encoded, Bool[Array, "B L"]]:
        """What the decoder starts from, sees of the source, and which positions are there."""
        batch, source, width = encoded.states.shape
        inputs = self.split(encoded.states).reshape(batch, source * self.factor, width)
        if revealed is not None:
            shown = self.transformer.embedding.lookup(jnp.maximum(revealed, 0))
            inputs = jnp.where((revealed != HIDDEN)[..., None], shown, inputs)
        inputs = inputs + self.place(inputs.shape[1])[None]
        return inputs, encoded, self.keep(encoded)

    def place(self, count: int) -> Float[Array, "L D"]:
        """What is added at each of `count` positions; beyond the table stands padding alone."""
        width = self.spec.width
        if self.spec.positions == "sinusoidal":
            return sinusoids(count, width)
        return self.positions[jnp.minimum(jnp.arange(count), self.positions.shape[0] - 1)] * width**0.5

    def logits(self, states: Float[Array, "B L D"], allowed: Bool[np.ndarray, " V"]) -> Float[Array, "B L V"]:
        """Scores of what each position emits; about NEG_INF where it is not allowed."""
        return self.output(allowed).logits(states)

    def output(self, allowed: Bool[np.ndarray, " V"]) -> OutputLayer:
        """The layer that scores what positions emit."""
        return self.transformer.embedding.output(allowed)
