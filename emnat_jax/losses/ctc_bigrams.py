"""Expected bigrams of the outputs of CTC frames, over all alignments (Shao & Feng, NeurIPS 2022).

An output has the bigram (a, b) once for each pair of frames i < j of which i ends a run of a, j begins a run
of b and those between are blank; equal words need a blank between them. Frames are independent, so that the
expected count is exact:

    c(a, b) = sum over i < j of p_i(a) * prod over i < k < j of p_k(blank) * p_j(b)      j > i + 1 if a = b

BOS stands before the first frame and EOS behind the last, both with certainty. One pass over the frames
carries the probability that the last word so far is a,

    reached_l(a) = reached_{l-1}(a) * p_l(blank) + p_l(a)

and adds reached_{l-1}(a) * p_l(b) to the count; of equal words only what came through a blank. The expected
number of all bigrams is that of runs, and one:

    expected = 1 + sum over l and words v of p_l(v) * (1 - p_{l-1}(v))
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from emnat_jax.losses.bigrams import Bigrams, matched_bigrams
from emnat_jax.losses.cross_entropy import emission_log_probs
from emnat_jax.types import BLANK, BOS, EOS


def ctc_bigrams(
    logits: Float[Array, "B L V"],
    frames: Int[Array, " B"],
    tokens: Int[Array, "B T"],
    lengths: Int[Array, " B"],
) -> Bigrams:
    """The bigrams of each row's first `lengths` tokens, BOS before and EOS behind them.

    Arguments as in `ctc_log_prob`: `lengths` are without EOS. Targets with more words than frames have
    bigrams like any other.
    """
    place = jnp.arange(tokens.shape[1] + 1)[None]
    first = jnp.pad(tokens, ((0, 0), (1, 0)), constant_values=BOS)
    second = jnp.where(place == lengths[:, None], EOS, jnp.pad(tokens, ((0, 0), (0, 1)), constant_values=EOS))
    counts = _counts(logits, frames, tokens, lengths)
    keep = place <= lengths[:, None]
    matched = matched_bigrams(counts, jnp.stack([first, second], axis=-1), keep)
    expected = 1 + _expected_words(logits, frames)
    return Bigrams(matched, expected, (lengths + 1).astype(jnp.float32))


def _counts(logits: Array, frames: Array, tokens: Array, lengths: Array) -> Float[Array, "B N"]:
    """Expected count of each bigram of the target; garbage beyond the last, which ends in EOS."""
    blank = jnp.full((tokens.shape[0], 1), BLANK, tokens.dtype)
    probs = jnp.exp(emission_log_probs(logits, jnp.concatenate([blank, tokens], axis=1)))
    blanks, words = probs[..., :1], probs[..., 1:]
    firsts = jnp.pad(words, ((0, 0), (0, 0), (1, 0)))  # BOS is in no frame
    seconds = jnp.pad(words, ((0, 0), (0, 0), (0, 1)))
    is_equal = jnp.pad(tokens[:, 1:] == tokens[:, :-1], ((0, 0), (1, 1)))
    begin = jnp.zeros(is_equal.shape).at[:, 0].set(1.0)

    def step(state, frame):
        reached, through_blank, counts = state
        blank, first, second, index = frame
        counts = counts + jnp.where(is_equal, through_blank, reached) * second
        stays = reached * blank
        moved = stays + first, stays, counts
        is_real = (index < frames)[:, None]
        return tuple(jnp.where(is_real, new, old) for new, old in zip(moved, state)), None

    by_frame = tuple(x.swapaxes(0, 1) for x in (blanks, firsts, seconds))
    state = begin, begin, jnp.zeros(is_equal.shape)
    (reached, _, counts), _ = jax.lax.scan(step, state, (*by_frame, jnp.arange(logits.shape[1])))
    return jnp.where(jnp.arange(counts.shape[1])[None] == lengths[:, None], reached, counts)


def _expected_words(logits: Array, frames: Array) -> Float[Array, " B"]:
    """Runs of words in the real frames."""
    is_word = jnp.arange(logits.shape[2])[None, None] != BLANK
    is_real = jnp.arange(logits.shape[1])[None] < frames[:, None]
    probs = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
    probs = jnp.where(is_word & is_real[:, :, None], probs, 0.0)
    return jnp.sum(probs, axis=(1, 2)) - jnp.sum(probs[:, 1:] * probs[:, :-1], axis=(1, 2))
