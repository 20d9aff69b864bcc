"""The best sequence of a position-wise model: by position, or without equal neighbours (ODD)."""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from emnat_jax.decoding.top import top_1, top_k
from emnat_jax.types import PAD, is_impossible

Penalty = float | jax.Array  # nats for two equal neighbours
CANDIDATES = 3  # a position's best 3 tokens always hold one that equals neither neighbour


class Path(struct.PyTreeNode):
    """The best path that ends in each candidate of a position; all [B, C], or broadcast to it.

    Sums of different size are kept apart, so that a large penalty or a masked token does not swallow the
    digits by which paths differ.
    """

    barred: jax.Array  # i32; tokens on the path that have no probability
    repeats: jax.Array  # i32; equal neighbours on the path
    score: jax.Array  # f32; log-probability of the other tokens


def odd_decode(
    log_probs: Float[Array, "B T V"],
    lengths: Int[Array, " B"],
    penalty: float | Float[Array, ""] = jnp.inf,
) -> tuple[Int[Array, "B T"], Float[Array, " B"]]:
    """The tokens that maximise log-probability - penalty x (equal neighbours), and their log-probability.

    Optimal de-duplicated decoding (docs/method.md, section 10.3), exact over the whole vocabulary for any
    penalty >= 0, though it looks at the best 3 tokens of a position only. An infinite penalty means the
    fewest possible equal neighbours, then the highest log-probability. Tokens of log-probability
    `NEG_INF` or -inf are used only where nothing else is left. Tokens beyond `lengths` are PAD; the returned
    log-probability (nats) does not contain the penalty.
    """
    width, vocab = log_probs.shape[1:]
    values, tokens = top_k(log_probs.astype(jnp.float32), min(CANDIDATES, vocab))
    keep = jnp.arange(width)[None, :] < lengths[:, None]
    links, last = _forward(values, tokens, keep, penalty)
    choice = _backward(links, last)
    chosen_tokens, chosen_values = (
        jnp.take_along_axis(a, choice[..., None], axis=-1)[..., 0] for a in (tokens, values)
    )
    return _cut(chosen_tokens, chosen_values, keep)


def argmax_decode(
    log_probs: Float[Array, "B T V"], lengths: Int[Array, " B"]
) -> tuple[Int[Array, "B T"], Float[Array, " B"]]:
    """The most probable token of every position, PAD beyond `lengths`, and their log-probability (nats)."""
    keep = jnp.arange(log_probs.shape[1])[None, :] < lengths[:, None]
    values, tokens = top_1(log_probs.astype(jnp.float32))
    return _cut(tokens, values, keep)


def _cut(tokens: jax.Array, values: jax.Array, keep: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.where(keep, tokens, PAD), jnp.sum(jnp.where(keep, values, 0.0), axis=-1)


def _forward(
    values: jax.Array, tokens: jax.Array, keep: jax.Array, penalty: Penalty
) -> tuple[jax.Array, jax.Array]:
    """Each candidate's best predecessor, i32[T, B, C], and the best candidate at each row's end, i32[B]."""

    def step(carry, position):
        path, before = carry
        value, token, real = position
        best, link = _extend(path, before, token, penalty)
        barred = is_impossible(value)
        best = Path(best.barred + barred, best.repeats, best.score + jnp.where(barred, 0.0, value))
        # Beyond a row's end its paths stand still, so that every row ends at the last step.
        best = _where(real[:, None], best, path)
        return (best, token), jnp.where(real[:, None], link, jnp.arange(link.shape[1])[None, :])

    zeros = jnp.zeros(tokens[:, 0].shape, jnp.int32)
    start = Path(zeros, zeros, zeros.astype(jnp.float32))
    nothing = jnp.full_like(zeros, -1)  # equals no token
    by_position = (values.swapaxes(0, 1), tokens.swapaxes(0, 1), keep.T)
    (path, _), links = jax.lax.scan(step, (start, nothing), by_position)
    return links, _best(path, penalty)[1]


def _extend(path: Path, before: jax.Array, token: jax.Array, penalty: Penalty) -> tuple[Path, jax.Array]:
    """The best way into each candidate, and the predecessor it comes from."""
    equal = before[:, :, None] == token[:, None, :]  # [B, from, to]
    into = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:, :, None], equal.shape), path)
    return _best(into.replace(repeats=into.repeats + equal), penalty)


def _best(paths: Path, penalty: Penalty) -> tuple[Path, jax.Array]:
    """The best path over axis 1 and its index; the lowest index of equals."""
    best, *rivals = (Path(*leaves) for leaves in zip(*map(_columns, jax.tree.leaves(paths)), strict=True))
    index = jnp.zeros(best.score.shape, jnp.int32)
    for i, rival in enumerate(rivals, start=1):
        wins = _beats(rival, best, penalty)
        best, index = _where(wins, rival, best), jnp.where(wins, i, index)
    return best, index


def _beats(path: Path, other: Path, penalty: Penalty) -> jax.Array:
    """Whether `path` is strictly better: fewer barred tokens, then score - penalty x repeats.

    The penalty multiplies the difference in repeats, so it cancels exactly where that is zero.
    """
    saved = other.repeats - path.repeats
    relief = jnp.where(saved == 0, 0.0, penalty * jnp.where(saved == 0, 1, saved))
    wins = path.score - other.score + relief > 0
    return jnp.where(path.barred == other.barred, wins, path.barred < other.barred)


def _backward(links: jax.Array, last: jax.Array) -> jax.Array:
    """The candidate of every position, i32[B, T], on the path that ends in `last`."""

    def step(choice, link):
        return jnp.take_along_axis(link, choice[:, None], axis=1)[:, 0], choice

    _, choices = jax.lax.scan(step, last, links, reverse=True)
    return choices.T


def _columns(leaf: jax.Array) -> list[jax.Array]:
    return [leaf[:, i] for i in range(leaf.shape[1])]


def _where(condition: jax.Array, path: Path, other: Path) -> Path:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), path, other)
