"""Outputs of a model that emits frames: the best path collapsed, and prefixes with exact probabilities.

PAD stands for the blank. `log_probs` [B, L, V] are normalised over blank and tokens and NEG_INF at EOS,
which is appended by rule; what they hold beyond a row's `frames` does not matter.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from emnat_jax.decoding.beam import LogProbsFn
from emnat_jax.decoding.top import top_1
from emnat_jax.types import BLANK, EOS, NEG_INF, PAD, is_impossible


def best_path(
    log_probs: Float[Array, "B L V"], frames: Int[Array, " B"], width: int, reward: float = 0.0
) -> Int[Array, "B T"]:
    """What the most probable alignment reads as, in `width` columns; cut where it is longer.

    Best path decoding (Graves et al., ICML 2006, 3.2), which is not the most probable output: several
    alignments may read alike. `reward` is added to every frame that is not blank (nats): outputs get longer.
    """
    is_blank = jnp.arange(log_probs.shape[-1]) == BLANK
    _, path = top_1(log_probs - reward * is_blank[None, None])
    return collapse(path, frames, width)


def collapse(path: Int[Array, "B L"], frames: Int[Array, " B"], width: int) -> Int[Array, "B T"]:
    """An alignment without its repeats, then without its blanks, then EOS and PAD; `width` columns.

    BLANK a a BLANK a b reads as a a b. Frames beyond a row's `frames` are not read.
    """
    before = jnp.pad(path, ((0, 0), (1, 0)), constant_values=BLANK)[:, :-1]
    real = jnp.arange(path.shape[1])[None] < frames[:, None]
    keep = real & (path != BLANK) & (path != before)
    place = jnp.where(keep, jnp.cumsum(keep, axis=1) - 1, width)
    rows = jnp.arange(path.shape[0])[:, None]
    tokens = jnp.full((path.shape[0], width), PAD, path.dtype).at[rows, place].set(path, mode="drop")
    length = jnp.minimum(jnp.sum(keep, axis=1), width - 1)[:, None]
    column = jnp.arange(width)[None]
    return jnp.where(column < length, tokens, jnp.where(column == length, EOS, PAD))


class Prefixes(struct.PyTreeNode):
    """log p of all alignments of the first 0, 1, ..., L frames that read as a prefix."""

    last: jax.Array  # i32[B, K]; the prefix's last token, BLANK of the empty one
    ends_in_blank: jax.Array  # f32[B, K, L + 1]
    ends_in_token: jax.Array  # f32[B, K, L + 1]
    log_prob: jax.Array  # f32[B, K]; of all outputs that begin with the prefix


def prefix_search(
    log_probs: Float[Array, "B L V"], frames: Int[Array, " B"], beams: int
) -> tuple[LogProbsFn, Prefixes]:
    """Arguments of `beam_search` for a search over outputs: log-probabilities of what is next, first cache.

    They are log p(prefix, token, ...) - log p(prefix, ...), exact sums over alignments (prefix probabilities,
    Graves, "Supervised Sequence Labelling", 2008, 7.5.2). So equal outputs are merged by construction, and a
    hypothesis gets its log-probability over all alignments. A position costs L sequential steps on [B, K] and
    one product [K, L] x [L, V] a row.

    With `blank[l]` and `token[l]` the log-probabilities that the first l frames read as the prefix and end in
    a blank or in its last token, the prefix with y behind it has

        ready[l]  = log( exp blank[l] + exp token[l] )      without token[l] where y repeats the last token
        token'[l] = log( exp token'[l-1] + exp ready[l-1] ) + log p_l(y)
        blank'[l] = log( exp blank'[l-1] + exp token'[l-1] ) + log p_l(BLANK)
        log p(prefix, y, ...) = log sum over l of exp( ready[l-1] + log p_l(y) )
    """
    # A frame beyond the row's end is a blank for certain, which changes nothing.
    certain = jnp.where(jnp.arange(log_probs.shape[2]) == BLANK, 0.0, NEG_INF)
    real = jnp.arange(log_probs.shape[1])[None] < frames[:, None]
    log_probs = jnp.where(real[..., None], log_probs.astype(jnp.float32), certain[None, None])
    probs = jnp.exp(log_probs)

    def step(tokens, prefixes, position):
        grown = _extend(prefixes, tokens, log_probs)
        prefixes = jax.tree.map(lambda old, new: jnp.where(position == 0, old, new), prefixes, grown)
        return _next_log_probs(prefixes, log_probs, probs), prefixes

    return step, _empty(log_probs, beams)


def _empty(log_probs: Array, beams: int) -> Prefixes:
    """The empty prefix in each of `beams` slots of each row."""
    passed = jnp.pad(jnp.cumsum(log_probs[..., BLANK], axis=1), ((0, 0), (1, 0)))
    shape = (log_probs.shape[0], beams, passed.shape[1])
    blank = jnp.broadcast_to(passed[:, None], shape)
    return Prefixes(
        jnp.full(shape[:2], BLANK, jnp.int32), blank, jnp.full(shape, NEG_INF), jnp.zeros(shape[:2])
    )


def _extend(prefixes: Prefixes, tokens: Array, log_probs: Array) -> Prefixes:
    """Each prefix with `tokens` [B, K] behind it."""
    emitted, blank = _emitted(log_probs, tokens), log_probs[..., BLANK][:, None]
    # An equal token is a new one only behind a blank.
    repeated = (tokens == prefixes.last)[..., None]
    ready = jnp.logaddexp(prefixes.ends_in_blank, jnp.where(repeated, NEG_INF, prefixes.ends_in_token))[
        ..., :-1
    ]

    def frame(ends, inputs):
        in_blank, in_token = ends
        ready, emitted, blank = inputs
        ends = jnp.logaddexp(in_blank, in_token) + blank, jnp.logaddexp(in_token, ready) + emitted
        return ends, ends

    none = jnp.full(tokens.shape, NEG_INF)
    by_frame = [jnp.moveaxis(x, -1, 0) for x in (ready, emitted, jnp.broadcast_to(blank, ready.shape))]
    _, ends = jax.lax.scan(frame, (none, none), tuple(by_frame))
    blanks, token_ends = (jnp.moveaxis(jnp.concatenate([none[None], x]), 0, -1) for x in ends)
    return Prefixes(tokens, blanks, token_ends, jax.nn.logsumexp(ready + emitted, axis=-1))


def _next_log_probs(prefixes: Prefixes, log_probs: Array, probs: Array) -> Float[Array, "B K V"]:
    """Log-probability of each token, and of the end as EOS, behind each prefix."""
    ends = jnp.logaddexp(prefixes.ends_in_blank, prefixes.ends_in_token)
    shift = jnp.max(ends[..., :-1], axis=-1, keepdims=True)
    # A product of probabilities instead of a log-sum-exp: no array [B, K, L, V].
    share = jnp.exp(ends[..., :-1] - shift)
    total = jnp.einsum("bkl,blv->bkv", share, probs, precision=jax.lax.Precision.HIGHEST)
    log_prob = jnp.where(total > 0, jnp.log(jnp.where(total > 0, total, 1.0)) + shift, NEG_INF)
    again = prefixes.ends_in_blank[..., :-1] + _emitted(log_probs, prefixes.last)
    again = jax.nn.logsumexp(again, axis=-1, keepdims=True)
    vocab = jnp.arange(probs.shape[-1])[None, None]
    log_prob = jnp.where(vocab == prefixes.last[..., None], again, log_prob)
    log_prob = jnp.where(vocab == EOS, ends[..., -1:], log_prob)
    given = prefixes.log_prob[..., None]
    # Nothing follows what can not be: an empty slot of the beam.
    possible = (vocab != BLANK) & ~is_impossible(given)
    return jnp.maximum(jnp.where(possible, log_prob - given, NEG_INF), NEG_INF)


def _emitted(log_probs: Array, tokens: Array) -> Float[Array, "B K L"]:
    """log p of each prefix's token at every frame."""
    index = jnp.broadcast_to(tokens[:, None], (*log_probs.shape[:2], tokens.shape[1]))
    return jnp.take_along_axis(log_probs, index, axis=-1).swapaxes(1, 2)
