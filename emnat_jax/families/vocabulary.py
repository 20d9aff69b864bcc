"""Which ids a model may generate: the probability space of docs/method.md, section 2.3."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from emnat_jax.config import TransformerSpec
from emnat_jax.models.embedding import padded_vocab
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
