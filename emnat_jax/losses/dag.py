"""Log-likelihood of a target under a directed acyclic graph, and the path that explains it best.

DA-Transformer (Huang et al., ICML 2022, 3.2): a path 0 = a_1 < a_2 < ... < a_T = last visits vertices and
emits one token at each. Its log-probability is the sum of its emissions and of its links; a target's is the
log-sum over all paths of as many vertices as it has tokens. With `forward[t, v]` the log-probability of the
first t tokens, summed over the paths whose t-th vertex is v:

    forward[1, v] = emissions[0, 1] at v = 0, impossible elsewhere
    forward[t, v] = emissions[v, t] + log sum over u < v of exp( forward[t-1, u] + links[u, v] )
    log p(y)      = forward[T, last]

The best path has a maximum in the place of the sum. An emission or a link that is not allowed holds
`NEG_INF`, not -inf: -inf would make gradients NaN.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from emnat_jax.types import NEG_INF, is_impossible

NO_VERTEX = -1
Join = Callable[[jax.Array], tuple[jax.Array, jax.Array | None]]
"""Scores f32[B, from, to] -> (joined over `from` f32[B, to], what is remembered of it)."""


def dag_log_prob(
    emissions: Float[Array, "B L T"],
    links: Float[Array, "B L L"],
    lengths: Int[Array, " B"],
    last: Int[Array, " B"],
) -> Float[Array, " B"]:
    """Log-probability (nats) of each row's `lengths` tokens, over all paths from vertex 0 to vertex `last`.

    `emissions[b, l, t]` is the log-probability of token t at vertex l, whatever it is beyond `lengths`;
    `links[b, i, j]` that of vertex j after vertex i, `NEG_INF` at j <= i. Where no path exists the
    result is `NEG_INF` exactly, with a gradient of zero.
    """
    return _forward(emissions, links, lengths, last, _log_sum)[0]


def dag_alignment(
    emissions: Float[Array, "B L T"],
    links: Float[Array, "B L L"],
    lengths: Int[Array, " B"],
    last: Int[Array, " B"],
) -> Int[Array, "B T"]:
    """The vertex of every token on the most probable path; NO_VERTEX beyond `lengths` and without a path.

    Arguments as in `dag_log_prob`. From the end backwards, the lowest of equally good vertices.
    """
    total, choices = _forward(emissions, links, lengths, last, _best)
    keep = _keep(emissions, lengths)

    def step(vertex, position):
        choice, real = position
        before = jnp.take_along_axis(choice, vertex[:, None], axis=1)[:, 0]
        return jnp.where(real, before, vertex), vertex

    first, rest = jax.lax.scan(step, last, (choices, keep[1:]), reverse=True)
    vertices = jnp.concatenate([first[None], rest])
    return jnp.where(keep & (total > NEG_INF)[None], vertices, NO_VERTEX).T


def _forward(
    emissions: Array, links: Array, lengths: Array, last: Array, join: Join
) -> tuple[jax.Array, jax.Array | None]:
    """Paths joined up to each row's `last`, f32[B], and what was remembered of each token but the first."""
    # bfloat16 would round at every token.
    emissions, links = emissions.astype(jnp.float32), links.astype(jnp.float32)
    keep = _keep(emissions, lengths)
    by_token = jnp.where(keep[:, :, None], jnp.moveaxis(emissions, 2, 0), 0.0)

    # Without checkpoint the backward pass would keep f32[B, L, L] of every token, L times the paths.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def step(paths, token):
        emission, real = token
        joined, remembered = join(paths[:, :, None] + links)
        # Beyond a row's end its paths stand still, so that every row ends at the last step.
        return jnp.where(real[:, None], joined + emission, paths), remembered

    is_first = jnp.arange(links.shape[1])[None, :] == 0
    paths = jnp.where(is_first, by_token[0], NEG_INF)
    paths, remembered = jax.lax.scan(step, paths, (by_token[1:], keep[1:]))
    total = jnp.take_along_axis(paths, last[:, None], axis=1)[:, 0]
    exists = ~is_impossible(total) & (lengths > 0)
    return jnp.where(exists, total, NEG_INF), remembered


def _log_sum(scores: jax.Array) -> tuple[jax.Array, None]:
    return jax.nn.logsumexp(scores, axis=1), None


def _best(scores: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.max(scores, axis=1), jnp.argmax(scores, axis=1)


def _keep(emissions: jax.Array, lengths: jax.Array) -> jax.Array:
    """bool[T, B]; True where a row has a token."""
    return jnp.arange(emissions.shape[2])[:, None] < lengths[None, :]
