"""The network of `vanilla` and `cmlm`: a length, and states of all positions given it (method.md, 8.3)."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from emnat_jax.config import TransformerSpec
from emnat_jax.families.vocabulary import generable
from emnat_jax.models import initial
from emnat_jax.models.heads import LengthHead
from emnat_jax.models.output_layer import OutputLayer
from emnat_jax.models.transformer import Encoded, Transformer
from emnat_jax.types import HIDDEN, PAD


class LengthThenTokens(nn.Module):
    """Encoder with a length slot, length head, and a decoder that sees positions only."""

    spec: TransformerSpec

    def setup(self) -> None:
        self.transformer = Transformer(self.spec, causal=False)
        self.length_head = LengthHead(self.spec)
        init = nn.with_logical_partitioning(initial.vectors(self.spec), ("embed",))
        self.length_slot: Any = self.param("length_slot", init, (self.spec.width,), jnp.float32)

    def __call__(self, source: Array, lengths: Array, width: int) -> tuple[Any, Any]:
        encoded, length_logits = self.encode(source)
        return self.states(encoded, lengths, width), length_logits

    def encode(self, source: Int[Array, "B S"]) -> tuple[Encoded, Float[Array, "B L"]]:
        """What the decoder sees of the source, and scores of each target length."""
        slot = self.length_slot * self.spec.width**0.5  # scaled as the words and positions beside it
        states, keep = self.transformer.encode(source, slot=slot)
        return Encoded(states[:, 1:], keep[:, 1:]), self.length_head(states[:, 0])

    def states(
        self,
        encoded: Encoded,
        lengths: Int[Array, " B"],
        width: int,
        revealed: Int[Array, "B T"] | None = None,
        *,
        copied: Int[Array, "B S"] | None = None,
    ) -> tuple[Float[Array, "B T D"], OutputLayer]:
        """States at each of `width` positions for targets of given lengths, EOS counted; what scores them.

        Positions start from what is `revealed`; else from the source tokens `copied`, spread over the length;
        else from PAD.
        """
        states = self.transformer.decode(*self._given(encoded, lengths, width, revealed, copied))
        return states, self.transformer.embedding.output(generable(self.spec, eos=False))

    def states_by_layer(
        self, encoded: Encoded, lengths: Array, width: int, revealed: Any = None, *, copied: Any = None
    ) -> tuple[list[Float[Array, "B T D"]], OutputLayer]:
        """As `states`, after each decoder layer."""
        states = self.transformer.decode_by_layer(*self._given(encoded, lengths, width, revealed, copied))
        return states, self.transformer.embedding.output(generable(self.spec, eos=False))

    def _given(
        self, encoded: Encoded, lengths: Array, width: int, revealed: Array | None, copied: Array | None
    ) -> tuple[Float[Array, "B T D"], Encoded, Bool[Array, "B T"]]:
        """What the decoder starts from, sees of the source, and which positions are there."""
        keep = jnp.arange(width)[None] < lengths[:, None]
        shown = jnp.full(keep.shape, PAD, jnp.int32)
        if copied is not None:
            shown = spread(copied, lengths, width)
        if revealed is not None:
            shown = jnp.where(revealed == HIDDEN, shown, revealed)
        return self.transformer.embedding(shown), encoded, keep


def spread(source: Int[Array, "B S"], lengths: Int[Array, " B"], width: int) -> Int[Array, "B {width}"]:
    """The tokens of each source, EOS included, spread over so many positions as its length says; then PAD.

    Position t of T takes token round(t (S - 1) / (T - 1)) of S, halves up: the first the first, the last the
    last (the uniform copy of Gu et al., ICLR 2018, 3.1).
    """
    last_token, last = jnp.sum(source != PAD, axis=1)[:, None] - 1, lengths[:, None] - 1
    place = jnp.arange(width)[None]
    index = (2 * place * last_token + last) // jnp.maximum(2 * last, 1)
    tokens = jnp.take_along_axis(source, jnp.minimum(index, last_token), axis=1)
    return jnp.where(place <= last, tokens, PAD)
