"""Which target positions training reveals: glancing (Qian et al., ACL 2021) and masking."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from emnat_jax.types import Key, Progress


def random_subset(key: Key, eligible: Bool[Array, "B L"], count: Int[Array, " B"]) -> Bool[Array, "B L"]:
    """`count` of each row's eligible positions, every subset equally likely; all where there are fewer."""
    noise = jnp.where(eligible, jax.random.uniform(key, eligible.shape), 2.0)
    rank = jnp.argsort(jnp.argsort(noise, axis=-1), axis=-1)
    return eligible & (rank < count[:, None])


def uniform_count(key: Key, limit: Int[Array, " B"]) -> Int[Array, " B"]:
    """A number from 1 to `limit`, every one equally likely; 0 where `limit` is 0."""
    return jnp.where(limit > 0, jax.random.randint(key, limit.shape, 1, jnp.maximum(limit, 1) + 1), 0)


def glancing_ratio(progress: Progress, start: float, end: float, share: float) -> Float[Array, ""]:
    """From `start` in a straight line to `end`, over this `share` of the training; then constant.

    `progress` is the share of the training that is done.
    """
    done = jnp.minimum(jnp.asarray(progress, jnp.float32) / share, 1.0)
    return start + (end - start) * done


def glanced(
    key: Key,
    guess: Int[Array, "B L"],
    reference: Int[Array, "B L"],
    eligible: Bool[Array, "B L"],
    ratio: Float[Array, ""],
) -> Bool[Array, "B L"]:
    """Mask of revealed positions: round(ratio x wrong guesses) of each row.

    The positions are drawn from the `eligible` ones, every subset equally likely (Qian et al., ACL 2021,
    3.2). `guess` and `reference` are tokens.
    """
    wrong = jnp.sum(eligible & (guess != reference), axis=-1)
    count = jnp.round(ratio * wrong.astype(jnp.float32)).astype(jnp.int32)
    return random_subset(key, eligible, count)
