"""Outputs of a directed acyclic graph: by its best path, or by a beam over token prefixes, summed over paths.

DA-Transformer (Huang et al., ICML 2022). Vertex 0 emits the first token (BOS in the family `dag`) and each
row's vertex `last` its EOS; `links[b, i, j]` is the log-probability of vertex j after vertex i, `NEG_INF`
where it is not allowed (j <= i, j > last). Every vertex before `last` has some link; `last` emits EOS alone,
no other vertex emits it.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from emnat_jax.decoding.beam import LogProbsFn
from emnat_jax.decoding.top import top_1
from emnat_jax.types import EOS, NEG_INF, PAD, is_impossible

Beta = float | Float[Array, ""]
NextVertex = Callable[[jax.Array, jax.Array], jax.Array]
"""(vertex i32[B], position i32[] counted from 0) -> the vertex after it, i32[B]."""


def greedy(
    tokens: Int[Array, "B L"], links: Float[Array, "B L L"], last: Int[Array, " B"], *, width: int
) -> Int[Array, "B {width}"]:
    """`tokens` along the path that takes the best link at each vertex, PAD after the end.

    `tokens` holds the best token of each vertex. A path of more than `width` vertices is cut, and its
    last token becomes EOS.
    """
    return _follow(tokens, links, last, width)


def lookahead(
    tokens: Int[Array, "B L"],
    values: Float[Array, "B L"],
    links: Float[Array, "B L L"],
    last: Int[Array, " B"],
    *,
    width: int,
) -> Int[Array, "B {width}"]:
    """As `greedy`, by the best link and token together; `values` are the log-probabilities of `tokens`."""
    return _follow(tokens, links + values[:, None, :], last, width)


def viterbi(
    tokens: Int[Array, "B L"],
    links: Float[Array, "B L L"],
    last: Int[Array, " B"],
    *,
    width: int,
    beta: Beta,
) -> Int[Array, "B {width}"]:
    """`tokens` along the path of at most `width` vertices with the highest sum of links / length^beta.

    Viterbi decoding of Shao et al. (EMNLP Findings 2022), exact; the shorter of equals. A row
    without such a path is PAD alone.
    """
    return _best_path(tokens, links, jnp.zeros(tokens.shape[:1]), last, width, beta)


def joint_viterbi(
    tokens: Int[Array, "B L"],
    values: Float[Array, "B L"],
    links: Float[Array, "B L L"],
    last: Int[Array, " B"],
    *,
    width: int,
    beta: Beta,
) -> Int[Array, "B {width}"]:
    """As `viterbi`, by links and `values`, the log-probabilities of `tokens`, together."""
    return _best_path(tokens, links + values[:, None, :], values[:, 0], last, width, beta)


def without_repeats(
    tokens: Int[Array, "B T"], last: Int[Array, " B"], max_jump: int | None
) -> Int[Array, "B T"]:
    """`tokens` without those that equal the token before them, filled up with PAD.

    They stand behind vertex 0, at one vertex each. Where a link goes `max_jump` vertices ahead at most, fewer
    tokens may not reach `last`: no path emits them, and the row stays as it is.
    """
    before = jnp.pad(tokens, ((0, 0), (1, 0)), constant_values=PAD)[:, :-1]
    keep = (tokens != before) & (tokens != PAD)
    count = jnp.sum(keep, axis=1)
    place = jnp.where(keep, jnp.cumsum(keep, axis=1) - 1, tokens.shape[1])
    rows = jnp.arange(tokens.shape[0])[:, None]
    kept = jnp.full_like(tokens, PAD).at[rows, place].set(tokens, mode="drop")
    if max_jump is None:
        return kept
    return jnp.where((count * max_jump >= last)[:, None], kept, tokens)


def _follow(tokens: jax.Array, scores: jax.Array, last: jax.Array, width: int) -> jax.Array:
    """Tokens along the path that takes the highest of `scores` [B, from, to] at each vertex."""
    _, best = top_1(scores)
    return _walk(tokens, lambda vertex, _: _pick(best, vertex), last, width)


def _best_path(
    tokens: jax.Array, scores: jax.Array, first: jax.Array, last: jax.Array, width: int, beta: Beta
) -> jax.Array:
    """Tokens along the path of the highest (`first` + its sum of `scores` [B, from, to]) / length^beta."""
    totals, choices = _ways_to_last(scores, last, width)
    lengths = jnp.arange(1, width + 1, dtype=jnp.float32)
    totals = totals + first[None]
    possible = ~is_impossible(totals)
    ranks = jnp.where(possible, totals / (lengths**beta)[:, None], -jnp.inf)
    links_in_path = jnp.argmax(ranks, axis=0)

    def next_vertex(vertex, position):
        choice = choices[links_in_path - position - 1, jnp.arange(vertex.shape[0])]
        return _pick(choice, vertex)

    found = _walk(tokens, next_vertex, last, width)
    return jnp.where(jnp.any(possible, axis=0)[:, None], found, PAD)


def _ways_to_last(scores: jax.Array, last: jax.Array, width: int) -> tuple[jax.Array, jax.Array]:
    """Of the best ways to `last`: totals f32[width, B] and next vertices i32[width, B, L].

    `totals[n]` is the highest sum from vertex 0 over n links; `choices[n]` follows each vertex on its
    best way over n + 1 links. Backwards from the end:

        onward[0, u]     = 0 at u = last, impossible elsewhere
        onward[n + 1, u] = max over v of scores[u, v] + onward[n, v]
    """

    def step(onward, _):
        longer, choice = top_1(scores + onward[:, None, :])
        return longer, (onward[:, 0], choice)

    at_last = jnp.arange(scores.shape[1])[None, :] == last[:, None]
    return jax.lax.scan(step, jnp.where(at_last, 0.0, NEG_INF), length=width)[1]


def _walk(tokens: jax.Array, next_vertex: NextVertex, last: jax.Array, width: int) -> jax.Array:
    """Tokens of the vertices on the way from vertex 0 to `last`; EOS where the width cuts it."""

    def step(vertex, position):
        return next_vertex(vertex, position), vertex

    vertices = jax.lax.scan(step, jnp.zeros_like(last), jnp.arange(width))[1].T
    at_end = vertices == last[:, None]  # from there on the walk goes astray and is not read
    ended = jnp.cumsum(at_end, axis=1) > at_end
    cut = jnp.take_along_axis(tokens, vertices, axis=1).at[:, -1].set(EOS)
    return jnp.where(ended, PAD, cut)


def _pick(table: jax.Array, vertex: jax.Array) -> jax.Array:
    return jnp.take_along_axis(table, vertex[:, None], axis=1)[:, 0]


def prefix_step(log_probs: Float[Array, "B L V"], links: Float[Array, "B L L"]) -> LogProbsFn:
    """A log_probs_fn for `beam_search`: the next token after a prefix, over all paths that emit the prefix.

    With `forward[v]` the probability that vertex v emits the next token, given the prefix:

        p(y | prefix) = sum over v of forward[v] p(y | v)
        forward'[w]   = sum over v of forward[v] p(y | v) p(w after v) / p(y | prefix)

    Exact, so that equal prefixes are one slot, a hypothesis has the log-probability of its tokens
    over all paths, and a beam that holds every prefix is exhaustive. `log_probs` are those of the
    tokens at each vertex. The cache is `start_prefixes`: f32[B, K, L], the probability of each vertex
    to emit the next token, given the prefix. A row whose shortest path is longer than the search has
    no hypothesis.

    Given the prefix, probabilities that matter are not small, so they are summed as such, by matrix
    products (the forward algorithm with scaling), not as [B, K, L, V] logarithms. What is below 1e-38
    given the prefix counts as impossible.
    """
    emit, follow = jnp.exp(log_probs), jnp.exp(links)

    def log_probs_fn(tokens, forward, position):
        forward = jnp.where(position == 0, forward, _advance(forward, tokens, emit, follow))
        return jnp.maximum(jnp.log(_mix(forward, emit)), NEG_INF), forward

    return log_probs_fn


def start_prefixes(links: Float[Array, "B L L"], beam: int) -> Float[Array, "B {beam} L"]:
    """The cache of `prefix_step` before the first token: vertex 0 emits it."""
    batch, vertices = links.shape[:2]
    return jnp.zeros((batch, beam, vertices)).at[:, :, 0].set(1.0)


def _advance(forward: jax.Array, tokens: jax.Array, emit: jax.Array, follow: jax.Array) -> jax.Array:
    """The vertices f32[B, K, L] of the next token, after `forward` emitted `tokens` [B, K]."""
    emitted = jnp.take_along_axis(emit, tokens[:, None, :], axis=2).swapaxes(1, 2)
    paths = forward * emitted
    total = jnp.sum(paths, axis=-1, keepdims=True)
    # An empty slot can hold an impossible token: nothing is possible after it either.
    return _mix(paths / jnp.where(total > 0, total, 1.0), follow)


def _mix(weights: jax.Array, rows: jax.Array) -> jax.Array:
    """Rows of [B, L, N] summed by weights [B, K, L]; rounded operands would show in every log-probability."""
    return jnp.einsum("bkl,bln->bkn", weights, rows, precision=jax.lax.Precision.HIGHEST)
