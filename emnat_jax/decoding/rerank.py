"""Length penalty, and the order of hypotheses under another model's score."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from emnat_jax.types import NEG_INF, PAD, Hypotheses, is_impossible

Alpha = float | Float[Array, ""]


def length_penalty(length: Int[Array, "*B"] | int, alpha: Alpha) -> Float[Array, "*B"]:
    """((5 + length) / 6)^alpha, what a log-probability is divided by; length counts EOS.

    docs/method.md, section 10.1.
    """
    return ((5.0 + jnp.asarray(length, jnp.float32)) / 6.0) ** alpha


def rank_score(
    log_prob: Float[Array, "*B"], length: Int[Array, "*#B"] | int, alpha: Alpha, reward: float = 0.0
) -> Float[Array, "*B"]:
    """What hypotheses are ordered by: log_prob / ((5 + length) / 6)^alpha + reward x length."""
    return log_prob / length_penalty(length, alpha) + reward * jnp.asarray(length, jnp.float32)


def first_candidates(found: Hypotheses, count: int) -> Hypotheses:
    """The first `count` of each source's hypotheses."""
    return jax.tree.map(lambda leaf: leaf[:, :count], found)


def rerank(hypotheses: Hypotheses, log_prob: Float[Array, "B K"], alpha: Alpha) -> Hypotheses:
    """The same hypotheses ordered by another model's `log_prob` after its length penalty.

    `rank_score` becomes that score; `log_prob` stays the one of the model that made the hypotheses.
    Ties keep the old order. Unfilled slots stay last, whatever `log_prob` holds there.
    """
    unfilled = is_impossible(hypotheses.rank_score)
    lengths = jnp.sum(hypotheses.tokens != PAD, axis=-1)
    rank = jnp.where(unfilled, NEG_INF, rank_score(log_prob, lengths, alpha))
    order = jnp.lexsort((-rank, unfilled), axis=-1)
    reordered = hypotheses.replace(rank_score=rank)
    return jax.tree.map(lambda leaf: jax.vmap(lambda row, index: row[index])(leaf, order), reordered)
