"""Expected bigrams of the outputs of a directed acyclic graph, over all paths (Ma et al., ICLR 2023).

The method is fuzzy alignment (FA-DAT, section 3). With `pass(v)` the probability that a path visits vertex v
and P the links between vertices,

    pass(0) = 1,   pass(v) = sum over u < v of pass(u) * P(u, v)
    c(a, b) = sum over u < v of pass(u) * p_u(a) * P(u, v) * p_v(b)
    expected = sum over v > 0 of pass(v)

A path that visits a vertex goes on to the last with certainty, so that both are exact. Of every path each
vertex behind the first ends one bigram.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from emnat_jax.losses.bigrams import Bigrams, matched_bigrams
from emnat_jax.types import NEG_INF


def dag_bigrams(
    emissions: Float[Array, "B L T"],
    links: Float[Array, "B L L"],
    tokens: Int[Array, "B T"],
    lengths: Int[Array, " B"],
) -> Bigrams:
    """The bigrams of each row's first `lengths` tokens, which begin with BOS and end in EOS.

    `emissions` and `links` as in `dag_log_prob`, of these tokens. The links of every vertex that a path can
    visit, but the last, have to sum to one. Targets of more tokens than vertices have bigrams like any other.
    """
    is_real = jnp.arange(tokens.shape[1])[None] < lengths[:, None]
    emissions, links = emissions.astype(jnp.float32), links.astype(jnp.float32)
    emitted = jnp.exp(jnp.where(is_real[:, None], emissions, NEG_INF))
    visits, keep = passing_probabilities(links), is_real[:, 1:]
    first = visits[:, :, None] * emitted[:, :, :-1]
    reached = jnp.einsum("but,buv->bvt", first, jnp.exp(links), precision=jax.lax.Precision.HIGHEST)
    counts = jnp.sum(reached * emitted[:, :, 1:], axis=1)
    matched = matched_bigrams(counts, jnp.stack([tokens[:, :-1], tokens[:, 1:]], axis=-1), keep)
    wanted = jnp.sum(keep, axis=1, dtype=jnp.float32)
    return Bigrams(matched, jnp.sum(visits[:, 1:], axis=1), wanted)


def passing_probabilities(links: Float[Array, "B L L"]) -> Float[Array, "B L"]:
    """The probability that a path from vertex 0 visits each vertex."""
    moves = jnp.moveaxis(jnp.exp(links), 2, 0)  # by the vertex that they end in
    begin = jnp.zeros(links.shape[:2]).at[:, 0].set(1.0)

    def step(visits, vertex):
        into, index = vertex
        found = jnp.sum(visits * into, axis=1)
        return visits.at[:, index].set(found), None

    visits, _ = jax.lax.scan(step, begin, (moves[1:], jnp.arange(1, links.shape[1])))
    return visits
