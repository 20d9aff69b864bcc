"""CTC student (Libovicky & Helcl, EMNLP 2018): frames from the upsampled source, summed over alignments.

p(y | x) is the probability of all alignments of the frames that collapse to the words of y; EOS is
appended by rule. There is no length head. A target with more words (and repeats) than frames has
probability 0; training leaves it out and counts it as `unreachable`. Label smoothing is not used.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from emnat_jax.config import CTCOptions, TransformerSpec
from emnat_jax.decoding.beam import beam_search
from emnat_jax.decoding.ctc import best_path, prefix_search
from emnat_jax.decoding.rerank import first_candidates
from emnat_jax.families.base import Family
from emnat_jax.families.parallel import Parallel, marginal_loss, parallel_family
from emnat_jax.families.vocabulary import generable, masked_log_softmax
from emnat_jax.losses.ctc import ctc_alignment, ctc_log_prob
from emnat_jax.models.dropout import dropout_rngs
from emnat_jax.models.upsample import UpsampledDecoder
from emnat_jax.types import BOS, EOS, PAD, Batch, Hypotheses, Key, Params


class Prediction(NamedTuple):
    """What the frames say."""

    logits: jax.Array  # f32[B, L, V]; masked, PAD is the blank
    frames: jax.Array  # i32[B]; real ones


def make(spec: TransformerSpec, options: CTCOptions) -> Family:
    """The family; a source of S tokens gives `ctc.factor` x S frames."""
    tokens = jnp.full((1, 2), EOS, jnp.int32)
    decode = functools.partial(_decode, spec, options)
    return parallel_family(_module(spec, options), (tokens,), parts(spec, options), decode)


def parts(spec: TransformerSpec, options: CTCOptions) -> Parallel:
    """Decoder positions are frames; the reference lies on them along its best alignment, blanks included."""
    return Parallel(
        encode=functools.partial(_encode, spec, options),
        predict=functools.partial(_predict, spec, options),
        reference=lambda prediction, batch: ctc_alignment(*prediction, batch.target, _words(batch.target)),
        logits=lambda prediction: prediction.logits,
        log_prob=_log_prob,
        loss=lambda prediction, batch, hidden: marginal_loss(_log_prob(prediction, batch.target), batch),
    )


def _module(spec, options: CTCOptions) -> UpsampledDecoder:
    return UpsampledDecoder(spec, options.factor)


def _words(target) -> Int[Array, " B"]:
    """Tokens without EOS."""
    return jnp.sum(target != PAD, axis=-1) - 1


def _encode(spec, options, params: Params, batch: Batch, key: Key | None):
    return _module(spec, options).apply(
        {"params": params}, batch.source, rngs=dropout_rngs(key), method="encode"
    )


def _predict(
    spec, options, params: Params, memory, batch: Batch | None, revealed, key: Key | None
) -> Prediction:
    def logits(module):
        return module.logits(module.states(memory, revealed), generable(spec, eos=False, blank=True))

    frames = options.factor * jnp.sum(memory.keep, axis=-1)
    return Prediction(
        _module(spec, options).apply({"params": params}, rngs=dropout_rngs(key), method=logits), frames
    )


def _log_prob(prediction: Prediction, target) -> Float[Array, " B"]:
    return ctc_log_prob(*prediction, target, _words(target))


def _decode(
    spec, options: CTCOptions, params: Params, source: Array, key: Key, num_candidates: int
) -> Hypotheses:
    """The best path collapsed, or the best of a beam; with its exact log-probability. `key` is not used."""
    del key
    width = spec.output_length(source.shape[1])
    memory = _module(spec, options).apply({"params": params}, source, method="encode")
    prediction = _predict(spec, options, params, memory, None, None, None)
    log_probs = masked_log_softmax(prediction.logits, generable(spec, eos=False, blank=True))
    if num_candidates > 1 or options.decoder == "beam":
        return _search(options, log_probs, prediction.frames, width, num_candidates)
    tokens = best_path(log_probs, prediction.frames, width)
    log_prob = _log_prob(prediction, tokens)[:, None]
    return Hypotheses(tokens[:, None], log_prob, log_prob)


def _search(options: CTCOptions, log_probs, frames, width: int, num_candidates: int) -> Hypotheses:
    beam = max(num_candidates, options.beam)
    step, cache = prefix_search(log_probs, frames, beam)
    first = jnp.full((log_probs.shape[0], beam), BOS, jnp.int32)
    reward = options.length_reward
    found = beam_search(step, cache, first, max_length=width, length_penalty=0.0, length_reward=reward)
    return first_candidates(found, num_candidates)
