"""Which ids a model may generate: the probability space of DESIGN 5."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from emnat_jax.config import TransformerSpec
from emnat_jax.models.embedding import padded_vocab
from emnat_jax.types import BOS, EOS, NEG_INF, PAD


def generable(spec: TransformerSpec, *, eos: bool, blank: bool = False) -> Bool[np.ndarray, " V"]:
    """True for ids that may be generated: never BOS or the ids that only pad the vocabulary; PAD as `blank`."""
    allowed = np.arange(padded_vocab(spec)) < spec.vocab_size
    allowed[BOS], allowed[PAD] = False, blank
    allowed[EOS] = eos
    return allowed


def masked_log_softmax(logits: Float[Array, "*B V"], allowed: Bool[np.ndarray, " V"]) -> Float[Array, "*B V"]:
    """Log-probabilities over the allowed ids, NEG_INF elsewhere."""
    return mask(jax.nn.log_softmax(mask(logits, allowed), axis=-1), allowed)


def mask(logits: Float[Array, "*B V"], allowed: Bool[np.ndarray, " V"]) -> Float[Array, "*B V"]:
    """The logits of the allowed ids, NEG_INF elsewhere."""
    return jnp.where(_like(allowed, logits), logits, NEG_INF)


def only_eos(log_probs: Float[Array, "*B V"], last: Bool[Array, "*B"]) -> Float[Array, "*B V"]:
    """The same with EOS certain where `last`."""
    certain = np.where(np.arange(log_probs.shape[-1]) == EOS, 0.0, NEG_INF).astype(np.float32)
    return jnp.where(last[..., None], _like(certain, log_probs), log_probs)


def _like(vector, x) -> jax.Array:
    return jnp.broadcast_to(jnp.asarray(vector), x.shape)
