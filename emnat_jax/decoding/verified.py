"""Greedy search that checks drafts: several tokens in one pass, and the same output.

Speculative decoding of Xia et al. (Findings of EMNLP 2023). One pass scores the tokens that a draft proposes;
those that a greedy search would have chosen stay, and behind them stands its own choice, which the pass gives
too. So a pass adds at least one token, and one more than it accepts. docs/method.md, section 10.10.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from emnat_jax.config.verified import VerifiedOptions
from emnat_jax.decoding.beam import LogTotal, normalised
from emnat_jax.decoding.rerank import Alpha, rank_score
from emnat_jax.decoding.top import top_k
from emnat_jax.types import EOS, PAD, Hypotheses, is_impossible

Cache = Any  # a pytree
BlockFn = Callable[[jax.Array, Cache, jax.Array], tuple[jax.Array, Cache]]
"""(tokens i32[B, W], cache, position i32[B]) -> (log_probs f32[B, W, V], cache).

`tokens` stand before `position[b]`, ..., `position[b]` + W - 1, and the scores are of what stands there; they
are as those of a `LogProbsFn`. What the cache holds from `position[b]` on, of tokens that were not accepted,
is not seen.
"""

DraftFn = Callable[[jax.Array, jax.Array], jax.Array]
"""(tokens i32[B, T], position i32[B]) -> i32[B, L]: a draft of the whole output, of which the first
`position[b]` tokens are given, L as of the first draft. What it has before `position[b]` is not looked at."""

# Two scores of a choice that are closer than this, in nats, may be in another order where they are computed
# one token at a time: float32 sums of other shapes are in another order. Measured differences stay below a
# hundredth of it.
CLOSE = 1e-3
_CONTEXT = 3  # tokens by which a place in the draft is recognised
_WORTH = 4  # places that one of them is worth


class Verified(struct.PyTreeNode):
    """What a search has found, one hypothesis a source."""

    hypotheses: Hypotheses
    passes: Any  # i32[B]; that had to be made for each source
    close: Any  # bool[B]; whether a choice was a matter of less than CLOSE nats


class Checking(struct.PyTreeNode):
    """Outputs that grow by what each pass accepts of their drafts, each at a position of its own."""

    position: jax.Array  # i32[B]; tokens written so far
    last: jax.Array  # i32[B]; the token before `position`
    drafts: jax.Array  # i32[B, L]
    place: jax.Array  # i32[B]; of the draft, which goes on from here
    tokens: jax.Array  # i32[B, T]
    gains: jax.Array  # f32[B, T]; log-probability of each token
    ended: jax.Array  # bool[B]
    close: jax.Array  # bool[B]
    passes: jax.Array  # i32[B]
    cache: Cache


def verified_search(
    block_fn: BlockFn,
    cache: Cache,
    first_tokens: Int[Array, " B"],
    drafts: Int[Array, "B L"],
    *,
    max_length: int,
    options: VerifiedOptions = VerifiedOptions(),
    length_penalty: Alpha = 0.0,
    log_total: LogTotal = normalised,
    redraft: DraftFn | None = None,
) -> Verified:
    """The output of `greedy_search`, which checks a draft of each row: any tokens, PAD where there are none.

    Of outputs of at most `max_length` tokens, EOS included; `log_total` is as in `beam_search`. With
    `redraft` there is a new draft after every pass; without, the first goes on where it is recognised. Any
    draft gives the same output, and a good one gives it in fewer passes. With a rule of `options` that
    accepts other tokens than the most probable the output is no longer that of greedy search; `log_prob` is
    that of the output.
    """
    batch = first_tokens.shape[0]
    zero, nothing = jnp.zeros(batch, jnp.int32), jnp.zeros((batch, max_length), jnp.int32)
    begun = Checking(
        position=zero,
        last=first_tokens.astype(jnp.int32),
        drafts=drafts.astype(jnp.int32),
        place=zero,
        tokens=nothing + PAD,
        gains=nothing.astype(jnp.float32),
        ended=zero.astype(bool),
        close=zero.astype(bool),
        passes=zero,
        cache=cache,
    )
    check = functools.partial(_check, block_fn, redraft, options, log_total)
    found = jax.lax.while_loop(lambda state: ~jnp.all(state.ended), check, begun)
    # One after the other, as greedy search adds them.
    log_prob, _ = jax.lax.scan(lambda total, gain: (total + gain, None), jnp.zeros(batch), found.gains.T)
    score = rank_score(log_prob, found.position, length_penalty)
    hypotheses = Hypotheses(found.tokens[:, None], log_prob[:, None], score[:, None])
    return Verified(hypotheses, found.passes, found.close)


def _check(
    block_fn: BlockFn,
    redraft: DraftFn | None,
    options: VerifiedOptions,
    log_total: LogTotal,
    state: Checking,
) -> Checking:
    """The outputs one pass on."""
    limit = state.tokens.shape[1]
    proposed = _from(state.drafts, state.place, min(options.draft_block, limit - 1), PAD)
    inputs = jnp.concatenate([state.last[:, None], proposed], axis=1)
    scores, cache = block_fn(inputs, state.cache, state.position)
    order = jnp.arange(inputs.shape[1])[None]
    at_limit = state.position[:, None] + order >= limit - 1
    (best, second), choice = _two_best(scores)
    choice = jnp.where(at_limit, EOS, choice)
    accepted = _agrees(scores[:, :-1], proposed, choice[:, :-1], best[:, :-1], options)
    accepted &= ~at_limit[:, :-1] | (proposed == EOS)
    kept = jnp.sum(jnp.cumprod(accepted, axis=1), axis=1, dtype=jnp.int32)
    written = jnp.where(order < kept[:, None], jnp.pad(proposed, ((0, 0), (0, 1))), choice)
    # What is behind an EOS is not part of the output, whatever the draft has there.
    count = jnp.minimum(kept + 1, _first(written == EOS) + 1)
    count = jnp.where(state.ended, 0, count)
    counts = order < count[:, None]
    gains = jnp.take_along_axis(scores, written[..., None], axis=-1)[..., 0] - log_total(scores)
    tokens = _insert(state.tokens, written, state.position, count)
    position = state.position + count
    if redraft is None:
        drafts, place = state.drafts, align(state.drafts, tokens, position, state.place + count)
    else:
        drafts, place = redraft(tokens, position).astype(jnp.int32), position
    return Checking(
        position=position,
        last=jnp.take_along_axis(written, jnp.maximum(count - 1, 0)[:, None], axis=1)[:, 0],
        drafts=drafts,
        place=place,
        tokens=tokens,
        gains=_insert(state.gains, gains, state.position, count),
        ended=state.ended | jnp.any(counts & (written == EOS), axis=1),
        close=state.close | jnp.any(counts & ~at_limit & (best - second < CLOSE), axis=1),
        passes=state.passes + ~state.ended,
        cache=cache,
    )


def _two_best(scores: Float[Array, "B W V"]) -> tuple[tuple[Array, Array], Int[Array, "B W"]]:
    """The two largest scores of each position and the first entry that has the largest, as `top_1` has it."""
    top, index = top_k(scores, 2)
    return (top[..., 0], top[..., 1]), index[..., 0]


def _agrees(
    scores: Float[Array, "B n V"],
    proposed: Int[Array, "B n"],
    choice: Int[Array, "B n"],
    best: Float[Array, "B n"],
    options: VerifiedOptions,
) -> Bool[Array, "B n"]:
    """Where a proposed token is accepted, whatever stands before it."""
    agrees = proposed == choice
    if options.is_lossless:
        return agrees
    score = jnp.take_along_axis(scores, proposed[..., None], axis=-1)
    allowed = ~is_impossible(score[..., 0])
    if options.accept_top is not None:
        allowed &= jnp.sum(scores > score, axis=-1) < options.accept_top
    if options.accept_margin is not None:
        allowed &= best - score[..., 0] <= options.accept_margin
    return agrees | allowed


def align(
    drafts: Int[Array, "B L"],
    tokens: Int[Array, "B T"],
    position: Int[Array, " B"],
    expected: Int[Array, " B"],
) -> Int[Array, " B"]:
    """Where each draft goes on behind the `position[b]` tokens that are written.

    Behind the place that has the last of these tokens, up to three of them: each one more is worth four
    places of distance from `expected`, where the draft goes on token for token. There where no place has the
    last token.
    """
    behind, same = jnp.zeros(drafts.shape, jnp.int32), jnp.ones(drafts.shape, bool)
    for back in range(1, _CONTEXT + 1):
        written = _from(tokens, position - back, 1, PAD)
        before = jnp.pad(drafts, ((0, 0), (back, 0)), constant_values=PAD)[:, : drafts.shape[1]]
        same &= (before == written) & (written != PAD)
        behind += same
    distance = jnp.abs(jnp.arange(drafts.shape[1])[None] - expected[:, None])
    found = jnp.argmax(_WORTH * behind - distance, axis=1)
    is_known = jnp.take_along_axis(behind, found[:, None], axis=1)[:, 0] > 0
    return jnp.where(is_known, found, expected).astype(jnp.int32)


def _from(rows: Int[Array, "B L"], start: Int[Array, " B"], count: int, filler: int) -> Int[Array, "B n"]:
    """`count` entries of each row from `start[b]` on; `filler` before its first and behind its last."""
    index = start[:, None] + jnp.arange(count)[None]
    inside = (index >= 0) & (index < rows.shape[1])
    return jnp.where(inside, jnp.take_along_axis(rows, jnp.where(inside, index, 0), axis=1), filler)


def _first(marked: Bool[Array, "B W"]) -> Int[Array, " B"]:
    """The place of the first mark in each row; W where there is none."""
    return jnp.sum(jnp.cumprod(~marked, axis=1), axis=1, dtype=jnp.int32)


def _insert(rows: Array, new: Array, position: Int[Array, " B"], count: Int[Array, " B"]) -> Array:
    """[B, T] with the first `count[b]` of `new` [B, W] from `position[b]` on."""
    index = jnp.arange(rows.shape[1])[None] - position[:, None]
    is_new = (index >= 0) & (index < count[:, None])
    return jnp.where(is_new, jnp.take_along_axis(new, jnp.where(is_new, index, 0), axis=1), rows)
