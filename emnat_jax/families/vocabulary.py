"""Which ids a model may generate (the probability space of docs/method.md, section 2.3), and their loss."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from emnat_jax.config import TransformerSpec
from emnat_jax.losses.output_layer import ROWS, Sums, Targets, smoothed_loss_sums
from emnat_jax.models.embedding import padded_vocab
from emnat_jax.models.output_layer import OutputLayer
from emnat_jax.models.sharding import spread_over
from emnat_jax.types import BOS, EOS, NEG_INF, PAD


def generable(spec: TransformerSpec, *, eos: bool, blank: bool = False) -> Bool[np.ndarray, " V"]:
    """True for ids that may be generated: never BOS or ids that only pad the vocabulary; PAD as `blank`."""
    allowed = np.arange(padded_vocab(spec)) < spec.vocab_size
    allowed[BOS], allowed[PAD] = False, blank
    allowed[EOS] = eos
    return allowed


def only_eos(log_probs: Float[Array, "*B V"], last: Bool[Array, "*B"]) -> Float[Array, "*B V"]:
    """`log_probs` with EOS certain where `last` is True."""
    certain = np.where(np.arange(log_probs.shape[-1]) == EOS, 0.0, NEG_INF).astype(np.float32)
    return jnp.where(last[..., None], jnp.broadcast_to(certain, log_probs.shape), log_probs)


def output_loss(
    spec: TransformerSpec,
    scored: tuple[Float[Array, "B T D"], OutputLayer],
    target: Int[Array, "B T"],
    weight: Float[Array, "B T"],
    *,
    eos: bool,
) -> Sums:
    """Weighted sums of the smoothed loss and of -log p of the target's tokens.

    `scored` are the states of all positions and the layer over them; `eos` says whether EOS can be generated.
    """
    states, output = scored
    return smoothed_loss_sums(
        states,
        output.table,
        output.bias,
        Targets(target, weight, generable(spec, eos=eos)),
        smoothing=spec.label_smoothing,
        dtype=output.dtype,
        rows=ROWS * spread_over("batch"),
    )
