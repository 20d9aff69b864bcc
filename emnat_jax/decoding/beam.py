"""Cached beam search and greedy search over a function that gives the next token's log-probabilities."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from emnat_jax.decoding.rerank import Alpha, rank_score
from emnat_jax.decoding.top import top_1, top_k
from emnat_jax.types import EOS, NEG_INF, PAD, Hypotheses, is_impossible

Cache = Any  # what log_probs_fn remembers of each prefix; a pytree
LogProbsFn = Callable[[jax.Array, Cache, jax.Array], tuple[jax.Array, Cache]]
"""(tokens i32[B, K], cache, position i32[]) -> (log_probs f32[B, K, V], cache).

`tokens` stand before `position` (counted from 0). The log-probabilities are normalised; `NEG_INF` or
-inf marks what can not come next.
"""
Rank = Callable[[jax.Array, jax.Array | int], jax.Array]  # (log_prob, length) -> what decides the order


class Search(struct.PyTreeNode):
    """A beam search at one position. A slot of `log_prob` NEG_INF is empty."""

    position: jax.Array  # i32[]; tokens written so far, the same in every alive prefix
    last: jax.Array  # i32[B, K]; the token before `position`
    tokens: jax.Array  # i32[B, K, T]; alive prefixes, PAD from `position` on
    log_prob: jax.Array  # f32[B, K]; of the alive prefixes
    cache: Cache
    finished: Hypotheses


def pick_slots(tree: Any, slots: Int[Array, "B J"]) -> Any:
    """Every leaf [B, K, ...] as [B, J, ...]: row b holds its slots `slots[b]`."""
    pick = jax.vmap(lambda row, index: row.at[index].get(mode="promise_in_bounds"))
    return jax.tree.map(lambda leaf: pick(leaf, slots), tree)


def beam_search(
    log_probs_fn: LogProbsFn,
    cache: Cache,
    first_tokens: Int[Array, "B K"],
    *,
    max_length: int,
    length_penalty: Alpha,
    length_reward: float = 0.0,
    reorder: Callable[[Cache, jax.Array], Cache] = pick_slots,
) -> Hypotheses:
    """The K best finished sequences of at most `max_length` tokens, EOS included, that a beam of K meets.

    Ranked by log_prob / ((5 + length) / 6)^length_penalty + length_reward x length; distinct, best first;
    ties go to the one that was finished first. At each position every alive prefix is finished with EOS, and
    the best K continuations with another token stay alive; the last position is EOS. It stops as soon as no
    alive prefix can still enter the result, so stopping early changes nothing.

    `reorder(cache, parents i32[B, K])` gives the cache in which slot k goes on from slot `parents[b, k]`;
    the default asks that every leaf leads with [B, K].
    """
    rank = functools.partial(rank_score, alpha=length_penalty, reward=length_reward)
    return jax.lax.while_loop(
        lambda search: is_open(search, max_length, rank),
        lambda search: step(log_probs_fn, reorder, search, rank),
        start(cache, first_tokens, max_length),
    ).finished


def start(cache: Cache, first_tokens: jax.Array, max_length: int) -> Search:
    """One empty prefix alive a row, nothing finished."""
    nothing = jnp.full(first_tokens.shape, NEG_INF, jnp.float32)
    tokens = jnp.full((*first_tokens.shape, max_length), PAD, jnp.int32)
    return Search(
        position=jnp.int32(0),
        last=first_tokens.astype(jnp.int32),
        tokens=tokens,
        log_prob=nothing.at[:, 0].set(0.0),
        cache=cache,
        finished=Hypotheses(tokens, nothing, nothing),
    )


def is_open(search: Search, max_length: int, rank: Rank) -> jax.Array:
    """Whether an alive prefix of any row could still displace that row's worst finished slot.

    A prefix can not gain log-probability, and penalty and reward are monotone in length: what each
    gives is met at the shortest or the longest finish. An empty finished slot is displaced by anything.
    """
    ends: list[jax.Array | int] = [search.position + 1, max_length]
    rewards = [rank(jnp.zeros_like(search.log_prob), end) for end in ends]
    penalised = [rank(search.log_prob, end) - reward for end, reward in zip(ends, rewards)]
    bound = jnp.maximum(*penalised) + jnp.maximum(*rewards)
    bound = jnp.where(is_impossible(search.log_prob), NEG_INF, bound)
    worst = jnp.min(search.finished.rank_score, axis=1)
    return (search.position < max_length) & jnp.any(jnp.max(bound, axis=1) > worst)


def step(log_probs_fn: LogProbsFn, reorder: Callable, search: Search, rank: Rank) -> Search:
    """The search one position on."""
    log_probs, cache = log_probs_fn(search.last, search.cache, search.position)
    # A TPU lays out K x V as whole tiles of 8 x 128 or worse; B x K rows of V entries waste nothing.
    rows = log_probs.reshape(-1, log_probs.shape[-1])
    eos = rows[:, EOS].reshape(search.log_prob.shape)
    finished = keep_best(search.finished, finish(search, eos, rank))
    search, parents = expand(search, rows)
    if parents.shape[1] > 1:
        cache = reorder(cache, parents)
    return search.replace(cache=cache, finished=finished)


def finish(search: Search, eos_log_prob: jax.Array, rank: Rank) -> Hypotheses:
    """The alive prefixes with EOS at `position`; empty slots where that has no probability."""
    log_prob = _or_empty(search.log_prob + eos_log_prob)
    empty = is_impossible(log_prob)
    rank_score = jnp.where(empty, NEG_INF, rank(log_prob, search.position + 1))
    tokens = jnp.where(empty[:, :, None], PAD, search.tokens.at[:, :, search.position].set(EOS))
    return Hypotheses(tokens, log_prob, rank_score)


def keep_best(finished: Hypotheses, ended: Hypotheses) -> Hypotheses:
    """The best K of both, best first; the finished before the just ended where they tie."""
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), finished, ended)
    _, order = jax.lax.top_k(both.rank_score, finished.rank_score.shape[1])
    return pick_slots(both, order)


def expand(search: Search, rows: Float[Array, "N V"]) -> tuple[Search, jax.Array]:
    """The best K continuations by another token than EOS, cache left as it is, and the slots they come from.

    `rows` are the log-probabilities of the N = B x K slots.
    """
    batch, beam = search.log_prob.shape
    # A prefix's own best K + 1 hold its best K other than EOS: no pass over all entries to mask EOS.
    values, tokens = (x.reshape(batch, beam, -1) for x in top_k(rows, min(beam + 1, rows.shape[1])))
    totals = _or_empty(search.log_prob[:, :, None] + jnp.where(tokens == EOS, NEG_INF, values))
    log_prob, flat = jax.lax.top_k(totals.reshape(batch, -1), beam)
    parents = flat // tokens.shape[2]
    last = jnp.take_along_axis(tokens.reshape(batch, -1), flat, axis=1)
    written = pick_slots(search.tokens, parents).at[:, :, search.position].set(last)
    position = search.position + 1
    return search.replace(position=position, last=last, tokens=written, log_prob=log_prob), parents


class Greedy(struct.PyTreeNode):
    """A greedy search at one position; slot axis K = 1."""

    position: jax.Array  # i32[]
    last: jax.Array  # i32[B, 1]; the token before `position`
    tokens: jax.Array  # i32[B, 1, T]
    log_prob: jax.Array  # f32[B, 1]
    ended: jax.Array  # bool[B, 1]
    cache: Cache


def greedy_search(
    log_probs_fn: LogProbsFn,
    cache: Cache,
    first_tokens: Int[Array, "B 1"],
    *,
    max_length: int,
    length_penalty: Alpha = 0.0,
) -> Hypotheses:
    """One hypothesis a row: the most probable token at each position up to EOS, forced at the last one."""
    shape = first_tokens.shape
    search = Greedy(
        position=jnp.int32(0),
        last=first_tokens.astype(jnp.int32),
        tokens=jnp.full((*shape, max_length), PAD, jnp.int32),
        log_prob=jnp.zeros(shape, jnp.float32),
        ended=jnp.zeros(shape, bool),
        cache=cache,
    )
    search = jax.lax.while_loop(
        lambda search: (search.position < max_length) & ~jnp.all(search.ended),
        lambda search: _greedy_step(log_probs_fn, search, max_length),
        search,
    )
    lengths = jnp.sum(search.tokens != PAD, axis=-1)
    return Hypotheses(search.tokens, search.log_prob, rank_score(search.log_prob, lengths, length_penalty))


def _greedy_step(log_probs_fn: LogProbsFn, search: Greedy, max_length: int) -> Greedy:
    log_probs, cache = log_probs_fn(search.last, search.cache, search.position)
    gain, token = top_1(log_probs)
    at_limit = search.position == max_length - 1
    gain = jnp.where(at_limit, log_probs[..., EOS], gain)
    token = jnp.where(search.ended, PAD, jnp.where(at_limit, EOS, token))
    return Greedy(
        position=search.position + 1,
        last=token,
        tokens=search.tokens.at[:, :, search.position].set(token),
        log_prob=search.log_prob + jnp.where(search.ended, 0.0, gain),
        ended=search.ended | (token == EOS),
        cache=cache,
    )


def _or_empty(log_prob: jax.Array) -> jax.Array:
    """`log_prob`, with everything that no probability is left for set to NEG_INF exactly."""
    return jnp.where(is_impossible(log_prob), NEG_INF, log_prob)
