"""What each decoder position gives to each target token: the input of the dynamic programs."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def emission_log_probs(logits: Float[Array, "B L V"], tokens: Int[Array, "B T"]) -> Float[Array, "B L T"]:
    """log softmax(logits)[b, l, tokens[b, t]] in float32, without an array of log-probabilities [B, L, V]."""
    logits = logits.astype(jnp.float32)
    index = jnp.broadcast_to(tokens[:, None], (*logits.shape[:2], tokens.shape[1]))
    chosen = jnp.take_along_axis(logits, index, axis=-1)
    return chosen - jax.nn.logsumexp(logits, axis=-1, keepdims=True)
