"""Connectionist temporal classification (Graves et al., ICML 2006): a target over all its alignments.

An alignment gives each of L frames a token or BLANK; without repeats of a frame and then without blanks it
reads as the target. PAD stands for BLANK: no target holds it. `lengths` count tokens without EOS, which a
model that emits frames appends by rule.

A target of T tokens has 2T + 1 states: blank, y_1, blank, y_2, ..., y_T, blank. With `emit[l, j]` the
log-probability that frame l holds what state j stands for, `alpha[l, j]` is the log-probability of the first
l frames, summed over the alignments that end in state j:

    alpha[0, j] = 0 of the first blank, impossible elsewhere
    alpha[l, j] = emit[l, j] + log( exp alpha[l-1, j]        it stays in the state
                                  + exp alpha[l-1, j-1]      it comes from the state before
                                  + exp alpha[l-1, j-2] )    it skips a blank, into a token unlike the last
    log p(y)    = log( exp alpha[L, 2T] + exp alpha[L, 2T-1] )

The best alignment has maxima in the place of the sums, and is traced back from the better end.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from emnat_jax.losses.cross_entropy import emission_log_probs
from emnat_jax.types import BLANK, HIDDEN, NEG_INF, is_impossible


def ctc_log_prob(
    logits: Float[Array, "B L V"],
    frames: Int[Array, " B"],
    tokens: Int[Array, "B T"],
    lengths: Int[Array, " B"],
) -> Float[Array, " B"]:
    """log p(tokens) in nats, over all alignments; NEG_INF where there is none, with a gradient of zero.

    `logits[b, l]` are those of frame l over the tokens and BLANK, `frames` the real frames of each row,
    `lengths` its tokens. What lies beyond them does not matter. The recursion is the module's.
    """
    states, _ = _run(logits, frames, tokens, lengths, jax.nn.logsumexp)
    total = jax.nn.logsumexp(_ends(states, lengths), axis=-1)
    return jnp.where(is_impossible(total), NEG_INF, total)


def ctc_alignment(
    logits: Float[Array, "B L V"],
    frames: Int[Array, " B"],
    tokens: Int[Array, "B T"],
    lengths: Int[Array, " B"],
) -> Int[Array, "B L"]:
    """The most probable alignment: a token or BLANK at each frame, HIDDEN beyond `frames`.

    Arguments as in `ctc_log_prob`. A row without an alignment is HIDDEN throughout.
    """
    states, history = _run(logits, frames, tokens, lengths, jnp.max)
    ends = _ends(states, lengths)
    state = 2 * lengths - jnp.argmax(ends, axis=-1)
    path = _trace_back(history, _skips(tokens), state, frames)
    emitted = jnp.take_along_axis(_interleave(jnp.full_like(tokens, BLANK), tokens, BLANK), path, axis=1)
    possible = ~is_impossible(jnp.max(ends, axis=-1))
    real = jnp.arange(logits.shape[1])[None] < frames[:, None]
    return jnp.where(real & possible[:, None], emitted, HIDDEN)


def _run(
    logits: Array, frames: Array, tokens: Array, lengths: Array, total: Callable
) -> tuple[jax.Array, jax.Array]:
    """Scores of the 2T + 1 states (blank, token, blank, ...) after the last frame, and before each frame.

    `total` joins the ways into a state: log-sum-exp for all alignments, maximum for the best.
    """
    emissions = _by_state(logits, tokens)
    # Before the first frame the path stands in the first blank, from where it stays or enters token 1.
    begin = jnp.full((tokens.shape[0], 2 * tokens.shape[1] + 1), NEG_INF).at[:, 0].set(0.0)
    skips = _skips(tokens)

    def step(states, frame):
        emission, index = frame
        moved = total(_ways(states, skips), axis=0) + emission
        return jnp.where((index < frames)[:, None], moved, states), states

    by_frame = (emissions.swapaxes(0, 1), jnp.arange(logits.shape[1]))
    return jax.lax.scan(step, begin, by_frame)


def _by_state(logits: Array, tokens: Array) -> Float[Array, "B L J"]:
    """Log-probability of what each of the 2T + 1 states emits, at each frame."""
    blank = jnp.full((tokens.shape[0], 1), BLANK, tokens.dtype)
    emissions = emission_log_probs(logits, jnp.concatenate([blank, tokens], axis=1))
    blank, chosen = emissions[..., :1], emissions[..., 1:]
    pairs = _interleave(jnp.broadcast_to(blank, chosen.shape), chosen, 0.0)
    return pairs.at[..., -1:].set(blank)


def _skips(tokens: Array) -> Bool[Array, "B J"]:
    """Whether a state can be entered past the blank before it: a token unlike the one before."""
    differs = jnp.pad(tokens[:, 1:] != tokens[:, :-1], ((0, 0), (1, 0)))
    return _interleave(jnp.zeros_like(differs), differs, False)


def _interleave(even: jax.Array, odd: jax.Array, last: int | float) -> jax.Array:
    """even 0, odd 0, even 1, odd 1, ..., last: [..., T] and [..., T] as [..., 2T + 1]."""
    pairs = jnp.stack([even, odd], axis=-1).reshape(*even.shape[:-1], -1)
    return jnp.pad(pairs, ((0, 0),) * (pairs.ndim - 1) + ((0, 1),), constant_values=last)


def _ways(states: Array, skips: Array) -> Float[Array, "3 B J"]:
    """The scores with which each state can be entered: staying, from the one before, past a blank."""
    one = jnp.pad(states, ((0, 0), (1, 0)), constant_values=NEG_INF)[:, :-1]
    two = jnp.pad(states, ((0, 0), (2, 0)), constant_values=NEG_INF)[:, :-2]
    return jnp.stack([states, one, jnp.where(skips, two, NEG_INF)])


def _ends(states: Array, lengths: Array) -> Float[Array, "B 2"]:
    """Scores of the two states that end a target: the last blank and the last token."""
    last = 2 * lengths[:, None] - jnp.arange(2)[None]
    ends = jnp.take_along_axis(states, jnp.maximum(last, 0), axis=1)
    return jnp.where(last >= 0, ends, NEG_INF)


def _trace_back(history: Array, skips: Array, state: Array, frames: Array) -> Int[Array, "B L"]:
    """The state at each frame on the best way to `state` after the last one."""

    def step(state, frame):
        before, index = frame
        ways = jnp.take_along_axis(_ways(before, skips), state[None, :, None], axis=2)[..., 0]
        came_from = state - jnp.argmax(ways, axis=0)
        return jnp.where(index < frames, came_from, state), state

    _, path = jax.lax.scan(step, state, (history, jnp.arange(history.shape[0])), reverse=True)
    return path.T
