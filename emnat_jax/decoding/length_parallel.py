"""Which target lengths to decode side by side."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


def candidate_lengths(
    length: Int[Array, " B"], n: int, limit: int
) -> tuple[Int[Array, "B n"], Bool[Array, "B n"]]:
    """`n` consecutive lengths around `length`, and which of them are at most `limit`.

    They start at max(length - n // 2, 2), so they are not centred where that clamps: length 3 and
    n 9 give 2..10 (docs/method.md, section 10.4). Lengths count EOS. A length above `limit` is invalid and
    replaced by `limit`; at least the first is valid, whatever `length` is.
    """
    start = jnp.maximum(jnp.minimum(length, limit) - n // 2, 2)
    lengths = jnp.minimum(start, limit)[:, None] + jnp.arange(n)[None, :]
    return jnp.minimum(lengths, limit), lengths <= limit
