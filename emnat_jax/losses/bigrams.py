"""How well the bigrams that a model expects to emit match those of a target, whatever their order.

A sentence of M words has the M + 1 bigrams of BOS, y_1, ..., y_M, EOS: so the first and the last word count
like the others, and an empty target has one bigram too. A model gives each of them an expected count; two
equal ones of the target share theirs. With c(g) the expected count of the different bigrams g of the target
and r(g) how often the target has them

    matched  = sum over g of min( c(g), r(g) )

This bounds the expected matches from above, E[min(C, r)] <= min(E[C], r) for the count C of an output, and
equals them where the model is sure. The two measures are ratios of expectations, as in the papers: of
Shao and Feng (NeurIPS 2022) for CTC, and of Ma et al. (ICLR 2023) for graphs.

    bigram_f1           2 matched / (expected + wanted)
    bigram_precision    matched / expected * exp( min(0, 1 - wanted / expected) )
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Bigrams(NamedTuple):
    """Bigrams of each row, all f32[B]."""

    matched: jax.Array  # expected and in the target, clipped to the target's counts
    expected: jax.Array  # of an output, at least 1
    wanted: jax.Array  # of the target


def bigram_f1(bigrams: Bigrams) -> Float[Array, " B"]:
    """Harmonic mean of matched / expected and matched / wanted, from 0 to 1."""
    return 2 * bigrams.matched / (bigrams.expected + bigrams.wanted)


def bigram_precision(bigrams: Bigrams) -> Float[Array, " B"]:
    """matched / expected with BLEU's brevity penalty, from 0 to 1."""
    brevity = jnp.exp(jnp.minimum(0.0, 1 - bigrams.wanted / bigrams.expected))
    return brevity * bigrams.matched / bigrams.expected


def matched_bigrams(
    counts: Float[Array, "B N"], pairs: Int[Array, "B N 2"], keep: Bool[Array, "B N"]
) -> Float[Array, " B"]:
    """The sum of min(c, r) over the different bigrams of each row's target.

    `counts[b, n]` is the expected count of `pairs[b, n]`, the n-th bigram of the target, alike for equal
    ones; those that are not kept are padding.
    """
    equal = jnp.all(pairs[:, :, None] == pairs[:, None], axis=-1) & keep[:, None]
    repeats = jnp.maximum(jnp.sum(equal, axis=-1), 1)
    # Each of r equal bigrams brings its share of min(c, r).
    return jnp.sum(jnp.where(keep, jnp.minimum(counts / repeats, 1.0), 0.0), axis=-1)
