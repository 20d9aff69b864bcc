"""Cached beam search and greedy search over a function that scores what comes next."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from emnat_jax.decoding.rerank import Alpha, rank_score
from emnat_jax.decoding.top import top_1, top_of_slots
from emnat_jax.types import EOS, NEG_INF, PAD, Hypotheses, is_impossible

Cache = Any  # what log_probs_fn remembers of each prefix; a pytree
LogProbsFn = Callable[[jax.Array, Cache, jax.Array], tuple[jax.Array, Cache]]
"""(tokens i32[B, K], cache, position i32[]) -> (log_probs f32[B, K, V], cache).

`tokens` stand before `position` (counted from 0). The log-probabilities are normalised, or a search is told
what to take off them; `NEG_INF` or -inf marks what can not come next.
"""
LogTotal = Callable[[jax.Array], jax.Array]  # scores f32[..., V] -> what each row of them has too much
Rank = Callable[[jax.Array, jax.Array | int], jax.Array]  # (log_prob, length) -> what decides the order
Choose = Callable[[jax.Array, jax.Array], jax.Array]  # (scores f32[B, K, V], position) -> tokens i32[B, K]


class Search(struct.PyTreeNode):
    """A beam search at one position. A slot of `log_prob` NEG_INF is empty."""

    position: jax.Array  # i32[]; tokens written so far, the same in every alive prefix
    last: jax.Array  # i32[B, K]; the token before `position`
    tokens: jax.Array  # i32[B, K, T]; alive prefixes, PAD from `position` on
    log_prob: jax.Array  # f32[B, K]; of the alive prefixes
    cache: Cache
    finished: Hypotheses


def normalised(scores: Float[Array, "*B V"]) -> Float[Array, "*B"]:
    """The `log_total` of log-probabilities: 0."""
    return jnp.zeros(scores.shape[:-1], scores.dtype)


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
    log_total: LogTotal = normalised,
) -> Hypotheses:
    """The K best finished sequences of at most `max_length` tokens, EOS included, that a beam of K meets.

    Ranked by log_prob / ((5 + length) / 6)^length_penalty + length_reward x length; distinct, best first;
    ties go to the one that was finished first. At each position every alive prefix is finished with EOS, and
    the best K continuations with another token stay alive (they are of one length, so that penalty and reward
    do not change which these are); the last position is EOS. It stops as soon as no
    alive prefix can still enter the result, so stopping early changes nothing.

    `reorder(cache, parents i32[B, K])` gives the cache in which slot k goes on from slot `parents[b, k]`;
    the default asks that every leaf leads with [B, K]. `log_total` is logsumexp where `log_probs_fn` gives
    logits: a normalised copy of all of them is never made.
    """
    rank = functools.partial(rank_score, alpha=length_penalty, reward=length_reward)
    return jax.lax.while_loop(
        lambda search: is_open(search, max_length, rank),
        lambda search: step(log_probs_fn, reorder, log_total, search, rank),
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


def step(
    log_probs_fn: LogProbsFn, reorder: Callable, log_total: LogTotal, search: Search, rank: Rank
) -> Search:
    """The search one position on."""
    scores, cache = log_probs_fn(search.last, search.cache, search.position)
    # A TPU lays out K x V as whole tiles of 8 x 128 or worse; B x K rows of V entries waste nothing.
    rows = scores.reshape(-1, scores.shape[-1])
    prefix = search.log_prob - log_total(rows).reshape(search.log_prob.shape)
    ended = finish(search, prefix + rows[:, EOS].reshape(prefix.shape), rank)
    finished = keep_best(search.finished, ended)
    search, parents = expand(search, prefix, rows)
    if parents.shape[1] > 1:
        cache = reorder(cache, parents)
    return search.replace(cache=cache, finished=finished)


def finish(search: Search, log_prob: Float[Array, "B K"], rank: Rank) -> Hypotheses:
    """The alive prefixes with EOS at `position`, of this `log_prob`; empty slots where that is impossible."""
    log_prob = _or_empty(log_prob)
    empty = is_impossible(log_prob)
    rank_score = jnp.where(empty, NEG_INF, rank(log_prob, search.position + 1))
    tokens = jnp.where(empty[:, :, None], PAD, search.tokens.at[:, :, search.position].set(EOS))
    return Hypotheses(tokens, log_prob, rank_score)


def keep_best(finished: Hypotheses, ended: Hypotheses) -> Hypotheses:
    """The best K of both, best first; the finished before the just ended where they tie."""
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), finished, ended)
    _, order = jax.lax.top_k(both.rank_score, finished.rank_score.shape[1])
    return pick_slots(both, order)


def expand(
    search: Search, prefix: Float[Array, "B K"], rows: Float[Array, "N V"]
) -> tuple[Search, jax.Array]:
    """The best K continuations by another token than EOS, cache left as it is, and the slots they come from.

    `rows` are the scores of the N = B x K slots; `prefix` makes them log-probabilities of the continuations.
    """
    beam = prefix.shape[1]
    # Each slot has one EOS, so the best 2 K hold the best K others: no pass over all entries to mask EOS.
    values, slots, tokens = top_of_slots(rows, prefix, 2 * beam)
    log_prob, order = jax.lax.top_k(_or_empty(jnp.where(tokens == EOS, NEG_INF, values)), beam)
    parents, last = (jnp.take_along_axis(x, order, axis=1) for x in (slots, tokens))
    written = pick_slots(search.tokens, parents).at[:, :, search.position].set(last)
    position = search.position + 1
    return search.replace(position=position, last=last, tokens=written, log_prob=log_prob), parents


class Chosen(struct.PyTreeNode):
    """Outputs that grow by one chosen token at each position."""

    position: jax.Array  # i32[]
    last: jax.Array  # i32[B, K]; the token before `position`
    tokens: jax.Array  # i32[B, K, T]
    log_prob: jax.Array  # f32[B, K]
    ended: jax.Array  # bool[B, K]
    cache: Cache


def greedy_search(
    log_probs_fn: LogProbsFn,
    cache: Cache,
    first_tokens: Int[Array, "B 1"],
    *,
    max_length: int,
    length_penalty: Alpha = 0.0,
    log_total: LogTotal = normalised,
) -> Hypotheses:
    """One hypothesis a row: the most probable token at each position up to EOS, forced at the last one.

    `log_total` is as in `beam_search`.
    """
    found = choose_tokens(
        log_probs_fn,
        cache,
        first_tokens,
        choose=lambda scores, position: top_1(scores)[1],
        max_length=max_length,
        log_total=log_total,
    )
    lengths = jnp.sum(found.tokens != PAD, axis=-1)
    return Hypotheses(found.tokens, found.log_prob, rank_score(found.log_prob, lengths, length_penalty))


def choose_tokens(
    log_probs_fn: LogProbsFn,
    cache: Cache,
    first_tokens: Int[Array, "B K"],
    *,
    choose: Choose,
    max_length: int,
    log_total: LogTotal = normalised,
) -> Chosen:
    """K outputs a row, each by itself: `choose` gives every token up to EOS, forced at the last position.

    `log_prob` is that of the outputs, EOS included, whatever they are chosen by. `log_total` is as in
    `beam_search`. It stops when all outputs have ended.
    """
    shape = first_tokens.shape
    begun = Chosen(
        position=jnp.int32(0),
        last=first_tokens.astype(jnp.int32),
        tokens=jnp.full((*shape, max_length), PAD, jnp.int32),
        log_prob=jnp.zeros(shape, jnp.float32),
        ended=jnp.zeros(shape, bool),
        cache=cache,
    )
    return jax.lax.while_loop(
        lambda found: (found.position < max_length) & ~jnp.all(found.ended),
        lambda found: _choose_next(log_probs_fn, choose, log_total, found, max_length),
        begun,
    )


def _choose_next(
    log_probs_fn: LogProbsFn, choose: Choose, log_total: LogTotal, found: Chosen, max_length: int
) -> Chosen:
    """The outputs one token on."""
    scores, cache = log_probs_fn(found.last, found.cache, found.position)
    at_limit = found.position == max_length - 1
    token = jnp.where(at_limit, EOS, choose(scores, found.position))
    gain = jnp.take_along_axis(scores, token[..., None], axis=-1)[..., 0] - log_total(scores)
    token = jnp.where(found.ended, PAD, token)
    return Chosen(
        position=found.position + 1,
        last=token,
        tokens=found.tokens.at[:, :, found.position].set(token),
        log_prob=found.log_prob + jnp.where(found.ended, 0.0, gain),
        ended=found.ended | (token == EOS),
        cache=cache,
    )


def _or_empty(log_prob: jax.Array) -> jax.Array:
    """`log_prob`, with everything that no probability is left for set to NEG_INF exactly."""
    return jnp.where(is_impossible(log_prob), NEG_INF, log_prob)
