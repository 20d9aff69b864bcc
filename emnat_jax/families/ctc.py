"""CTC student (Libovicky & Helcl, EMNLP 2018): frames from the upsampled source, summed over alignments.

    p(y | x) = sum over alignments a of y of prod_l p(a_l | l, x)

An alignment gives each of the L frames a token or the blank, and reads as y: without repeats of a frame, then
without blanks. EOS is in no frame and follows the last of them by rule. A target has probability 0 where its
words, and one blank between each two equal ones, are more than there are frames.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from emnat_jax.config import CTCOptions, TransformerSpec
from emnat_jax.decoding.ctc import best_path, prefix_search
from emnat_jax.families.base import Family
from emnat_jax.families.objective import bigram_loss
from emnat_jax.families.parallel import Parallel, marginal_loss
from emnat_jax.families.upsampled import Beam, Decoder, upsampled_family, upsampled_parts
from emnat_jax.families.vocabulary import generable
from emnat_jax.losses.bigrams import Bigrams, bigram_f1
from emnat_jax.losses.ctc import ctc_alignment, ctc_log_prob
from emnat_jax.losses.ctc_bigrams import ctc_bigrams
from emnat_jax.models.masking import masked_log_softmax
from emnat_jax.models.output_layer import OutputLayer
from emnat_jax.models.transformer import Encoded
from emnat_jax.models.upsample import UpsampledDecoder
from emnat_jax.types import PAD, Batch, Metrics


class Prediction(NamedTuple):
    """What the frames say."""

    logits: jax.Array  # f32[B, L, V]; masked, PAD is the blank
    frames: jax.Array  # i32[B]; real ones
    lower: "Lower | None" = None  # where the layers below have a loss too


class Lower(NamedTuple):
    """The decoder layers below the last, and what scores tokens at their frames."""

    states: jax.Array  # f32[N - 1, B, L, D]
    output: OutputLayer


class Frames(UpsampledDecoder):
    """Upsampled decoder whose positions are frames."""

    def predict(self, encoded: Encoded, revealed: Int[Array, "B L"] | None = None) -> Prediction:
        """One pass, in which the decoder is shown what is `revealed`."""
        return self._prediction(self.states(encoded, revealed), encoded)

    def predict_by_layer(self, encoded: Encoded, revealed: Int[Array, "B L"] | None = None) -> Prediction:
        """As `predict`, with the states of the layers below."""
        *lower, last = self.states_by_layer(encoded, revealed)
        found = self._prediction(last, encoded)
        if not lower:
            return found
        return found._replace(lower=Lower(jnp.stack(lower), self.output(_emitted(self.spec))))

    def _prediction(self, states: Float[Array, "B L D"], encoded: Encoded) -> Prediction:
        logits = self.logits(states, _emitted(self.spec))
        return Prediction(logits, self.factor * jnp.sum(encoded.keep, axis=-1))


def make(spec: TransformerSpec, options: CTCOptions) -> Family:
    """The family; a source of S tokens gives `factor` x S frames."""
    beam = Beam(
        start=lambda prediction, log_probs, beam: prefix_search(log_probs, prediction.frames, beam),
        width=options.beam,
        always=options.decoder == "beam",
        length_reward=options.length_reward,
    )
    decoder = Decoder(
        log_probs=lambda prediction: masked_log_softmax(prediction.logits, _emitted(spec)),
        path=lambda prediction, log_probs, width: _path(options, log_probs, prediction, width),
        log_prob=_log_prob,
        beam=beam,
    )
    return upsampled_family(Frames(spec, options.factor), parts(spec, options), decoder)


def parts(spec: TransformerSpec, options: CTCOptions) -> Parallel:
    """Decoder positions are frames; the reference lies on them along its best alignment, blanks included."""
    module, is_deep = Frames(spec, options.factor), options.deep_supervision
    parts = upsampled_parts(module, _log_prob, _reference, is_deep=is_deep)
    return parts._replace(loss=_loss, ngram_loss=_ngram_loss)


def _loss(prediction: Prediction, batch: Batch, hidden: Array | None) -> tuple[Array, Metrics]:
    """The mean of the losses of the layers that have one; the other metrics are the last layer's."""
    last = _log_prob(prediction, batch.target)
    loss, metrics = marginal_loss(last, batch)
    if prediction.lower is None:
        return loss, metrics
    loss, deep = marginal_loss(_mean_of_layers(_log_prob, prediction, batch.target, last), batch)
    return loss, metrics | {"loss": deep["loss"]}


def _ngram_loss(prediction: Prediction, batch: Batch, hidden: Array | None) -> tuple[Array, Metrics]:
    """1 - F1 of the bigrams; as `_loss` where more layers have one."""
    bigrams = _bigrams(prediction, batch.target)
    quality = _mean_of_layers(_f1, prediction, batch.target, bigram_f1(bigrams))
    return bigram_loss(quality, bigrams, batch)


def _mean_of_layers(
    measure: Callable[[Prediction, Array], Array],
    prediction: Prediction,
    target: Int[Array, "B T"],
    last: Float[Array, " B"],
) -> Float[Array, " B"]:
    """Of a measure of a prediction, which is `last` of the last layer; other layers as far as they count."""
    lower = prediction.lower
    if lower is None:
        return last

    # One layer after the other, its logits made again for the gradient: never those of all layers.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def of_layer(states):
        return measure(prediction._replace(logits=lower.output.logits(states)), target)

    below = jax.lax.map(of_layer, lower.states)
    return (last + jnp.sum(below, axis=0)) / (below.shape[0] + 1)


def _path(options: CTCOptions, log_probs: Array, prediction: Prediction, width: int) -> Int[Array, "B T"]:
    """The tokens of one path."""
    match options.decoder:
        case "greedy":
            return best_path(log_probs, prediction.frames, width, options.length_reward)
        case name:  # `beam` searches outputs and asks for no path
            raise AssertionError(f"no path is found for the decoder {name!r} of CTCOptions.DECODERS")


def _emitted(spec: TransformerSpec) -> Bool[np.ndarray, " V"]:
    """What frames may hold: the blank and every token but EOS."""
    return generable(spec, eos=False, blank=True)


def _words(target: Int[Array, "B T"]) -> Int[Array, " B"]:
    """Tokens without EOS."""
    return jnp.sum(target != PAD, axis=-1) - 1


def _log_prob(prediction: Prediction, target: Int[Array, "B T"]) -> Float[Array, " B"]:
    return ctc_log_prob(prediction.logits, prediction.frames, target, _words(target))


def _bigrams(prediction: Prediction, target: Int[Array, "B T"]) -> Bigrams:
    return ctc_bigrams(prediction.logits, prediction.frames, target, _words(target))


def _f1(prediction: Prediction, target: Int[Array, "B T"]) -> Float[Array, " B"]:
    return bigram_f1(_bigrams(prediction, target))


def _reference(prediction: Prediction, batch: Batch) -> Int[Array, "B L"]:
    return ctc_alignment(prediction.logits, prediction.frames, batch.target, _words(batch.target))
