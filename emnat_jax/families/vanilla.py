"""Position-wise non-autoregressive student: p(y | x) = p(T | x) prod_t p(y_t | T, t, x).

Network and loss of Sun & Yang (ICML 2020) as docs/method.md, sections 8.3 and 9.2 give them, without the
faults of section 14: the length slot takes no position from the words, the decoder sees every source token
and not the slot, and EOS is no input at all.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from emnat_jax.config import LengthOptions, TransformerSpec, VanillaOptions
from emnat_jax.decoding.length_parallel import candidate_lengths
from emnat_jax.decoding.odd import argmax_decode, odd_decode
from emnat_jax.decoding.rerank import first_candidates, rerank
from emnat_jax.decoding.top import top_1
from emnat_jax.decoding.verified import DraftFn
from emnat_jax.families.base import Family
from emnat_jax.families.length_network import LengthThenTokens
from emnat_jax.families.parallel import Parallel, parallel_family
from emnat_jax.families.vocabulary import generable, only_eos, output_loss
from emnat_jax.losses.cross_entropy import smoothed_cross_entropy, token_log_probs
from emnat_jax.losses.output_layer import Sums
from emnat_jax.models.dropout import dropout_rngs
from emnat_jax.models.masking import mask, masked_log_softmax
from emnat_jax.models.output_layer import OutputLayer
from emnat_jax.types import (
    EOS,
    HIDDEN,
    NEG_INF,
    PAD,
    Batch,
    Hypotheses,
    Key,
    Mean,
    Metrics,
    Params,
    is_impossible,
)


class Prediction(NamedTuple):
    """The decoder's output at each position, the layer that scores tokens there, masked scores of lengths."""

    states: jax.Array  # f32[B, T, D]
    output: OutputLayer
    lengths: jax.Array  # f32[B, L]
    lower: jax.Array | None = None  # f32[B, (N - 1) T, D]; of the layers below that have a loss too, in turn

    def tokens(self) -> Float[Array, "B T V"]:
        """Masked scores of the token at each position."""
        return self.output.logits(self.states)


def make(spec: TransformerSpec, options: VanillaOptions) -> Family:
    """The family. Lengths are 1 to `max_length`; the last token is always EOS."""
    return length_family(spec, parts(spec, options), functools.partial(_decode, spec, options))


def length_family(spec: TransformerSpec, parts: Parallel, decode: Callable[..., Hypotheses]) -> Family:
    """A family with this network, of these parts."""
    inputs = jnp.full((1, 2), EOS, jnp.int32), jnp.array([2]), 2
    return parallel_family(LengthThenTokens(spec), inputs, parts, decode)


def parts(spec: TransformerSpec, options: LengthOptions) -> Parallel:
    """Decoder positions are those of the target; each free one, all but EOS, has its own loss."""
    return Parallel(
        encode=functools.partial(_encode, spec),
        predict=functools.partial(_predict, spec, options=options),
        reference=lambda prediction, batch: jnp.where(free_positions(batch.target), batch.target, HIDDEN),
        logits=Prediction.tokens,
        log_prob=functools.partial(_log_prob, spec),
        loss=functools.partial(_loss, spec, options.length_loss_weight),
    )


def free_positions(target: Int[Array, "B T"]) -> Bool[Array, "B T"]:
    """True at every token but the EOS, which the length alone decides."""
    return jnp.arange(target.shape[1])[None] < _lengths(target)[:, None] - 1


def _lengths(target: Array) -> Int[Array, " B"]:
    return jnp.sum(target != PAD, axis=-1)


def _allowed_lengths(spec: TransformerSpec) -> np.ndarray:
    return np.arange(spec.max_length + 1) > 0


def _encode(spec: TransformerSpec, params: Params, batch: Batch, key: Key | None) -> Any:
    module = LengthThenTokens(spec)
    return module.apply({"params": params}, batch.source, rngs=dropout_rngs(key), method="encode")


def _predict(
    spec: TransformerSpec,
    params: Params,
    memory: Any,
    batch: Batch,
    revealed: Array | None,
    key: Key | None,
    *,
    options: LengthOptions,
) -> Prediction:
    """Layers below the last have a loss in training alone: evaluation measures the model that decodes."""
    encoded, length_logits = memory
    width, lengths = batch.target.shape[1], _lengths(batch.target)
    copied = batch.source if options.copies_source else None
    is_deep = options.deep_supervision and spec.decoder_layers > 1 and key is not None
    method = "states_by_layer" if is_deep else "states"
    apply = functools.partial(LengthThenTokens(spec).apply, rngs=dropout_rngs(key), method=method)
    states, output = cast(Any, apply({"params": params}, encoded, lengths, width, revealed, copied=copied))
    length_logits = mask(length_logits, _allowed_lengths(spec))
    if not is_deep:
        return Prediction(states, output, length_logits)
    *lower, last = states
    return Prediction(last, output, length_logits, jnp.concatenate(lower, axis=1))


def _loss(
    spec: TransformerSpec, length_weight: float, prediction: Prediction, batch: Batch, hidden: Array | None
) -> tuple[Array, Metrics]:
    """Mean smoothed token loss plus a share of the mean smoothed length loss (docs/method.md, 9.2).

    Both are means over the positions that count, at each of which stands the length loss of its row. So
    there is one weight, and parts of a batch add up to the whole. A row without a position counts as one.
    """
    lengths, smoothing = _lengths(batch.target), spec.label_smoothing
    length = smoothed_cross_entropy(prediction.lengths, lengths, smoothing, _allowed_lengths(spec))
    counted = free_positions(batch.target) if hidden is None else free_positions(batch.target) & hidden
    weight = counted * batch.weight[:, None]
    token = _token_loss(spec, prediction, batch.target, weight)
    of_row = jnp.maximum(jnp.sum(counted, axis=-1), 1) * batch.weight
    loss = Mean(token.loss + length_weight * jnp.sum(length * of_row), jnp.sum(of_row))
    length_nll = -token_log_probs(prediction.lengths, lengths)
    return loss.ratio(), {
        "loss": loss,
        "nll": Mean(token.nll, jnp.sum(weight)),
        "length_nll": Mean(jnp.sum(length_nll * batch.weight), jnp.sum(batch.weight)),
    }


def _token_loss(spec: TransformerSpec, prediction: Prediction, target: Array, weight: Array) -> Sums:
    """Sums over positions; of the loss the mean over the layers that have one, of -log p the last layer's."""
    states, output, lower = prediction.states, prediction.output, prediction.lower
    last = output_loss(spec, (states, output), target, weight, eos=False)
    if lower is None:
        return last
    # Layers side by side like more positions: there is one gradient of the table, and never all logits.
    below = lower.shape[1] // target.shape[1]
    tokens, weight = (jnp.tile(x, (1, below)) for x in (target, weight))
    loss = last.loss + output_loss(spec, (lower, output), tokens, weight, eos=False).loss
    return Sums(loss / (below + 1), last.nll)


def _log_prob(spec: TransformerSpec, prediction: Prediction, target: Array) -> Float[Array, " B"]:
    lengths = _lengths(target)
    token = token_log_probs(prediction.tokens(), target)
    length = token_log_probs(prediction.lengths, jnp.minimum(lengths, spec.max_length))
    total = jnp.sum(token * free_positions(target), axis=-1) + length
    return jnp.where(lengths <= spec.max_length, total, NEG_INF)


class Trials(NamedTuple):
    """The N = B x K pairs of a source and a length that are decoded side by side."""

    lengths: jax.Array  # i32[B, K]; EOS counted
    log_prob: jax.Array  # f32[B, K]; of the length, NEG_INF of one that is too long
    width: int  # columns of the outputs
    # (lengths i32[N], revealed i32[N, T]) -> log_probs f32[N, T, V]
    predict_given: Callable[[jax.Array, jax.Array | None], jax.Array]

    def predict(self, revealed: Array | None) -> Float[Array, "N T V"]:
        """Log-probabilities given these lengths and the tokens that are shown, i32[N, T]."""
        return self.predict_given(self.lengths.reshape(-1), revealed)


def length_trials(
    spec: TransformerSpec,
    params: Params,
    source: Int[Array, "B S"],
    count: int,
    *,
    copies_source: bool = False,
) -> Trials:
    """`count` lengths around the most likely one, and the log-probabilities of tokens given each."""
    module, width = LengthThenTokens(spec), spec.output_length(source.shape[1])
    found: Any = module.apply({"params": params}, source, method="encode")
    encoded, length_logits = found
    length_lp = masked_log_softmax(length_logits, _allowed_lengths(spec))
    lengths, valid = candidate_lengths(jnp.argmax(length_lp, axis=-1), count, width)
    log_prob = jnp.where(valid, jnp.take_along_axis(length_lp, lengths, axis=-1), NEG_INF)
    repeated = jax.tree.map(lambda x: jnp.repeat(x, count, axis=0), encoded)
    copied = jnp.repeat(source, count, axis=0) if copies_source else None
    apply = functools.partial(module.apply, {"params": params}, copied=copied, method="states")

    def predict(lengths, revealed):
        states, output = cast(Any, apply(repeated, lengths, width, revealed))
        last = jnp.arange(width)[None] == lengths[:, None] - 1
        return only_eos(masked_log_softmax(output.logits(states), generable(spec, eos=False)), last)

    return Trials(lengths, log_prob, width, predict)


def redraft(
    spec: TransformerSpec, options: LengthOptions, params: Params, source: Int[Array, "B S"]
) -> DraftFn:
    """The best token of every position in one pass, given the tokens before `position`.

    Of the most likely length, or one more token than are given where these are as many.
    """
    trials = length_trials(spec, params, source, 1, copies_source=options.copies_source)
    place = jnp.arange(trials.width)[None]

    def again(tokens: Int[Array, "B T"], position: Int[Array, " B"]) -> Int[Array, "B L"]:
        lengths = jnp.minimum(jnp.maximum(trials.lengths[:, 0], position + 1), trials.width)
        given = jnp.pad(tokens, ((0, 0), (0, trials.width)))[:, : trials.width]
        is_given = place < position[:, None]
        best = top_1(trials.predict_given(lengths, jnp.where(is_given, given, HIDDEN)))[1]
        return jnp.where(place < lengths[:, None], jnp.where(is_given, given, best), PAD)

    return again


def best_of_lengths(
    trials: Trials, tokens: Array, log_prob: Array, confidence: Array, *, alpha: float, count: int
) -> Hypotheses:
    """The best `count` of what was decoded for each length, by the confidence in tokens and length.

    `tokens` i32[N, T] with their `log_prob` and `confidence` f32[N], those of the length apart; `alpha` is of
    the length penalty.
    """
    shape, invalid = trials.lengths.shape, is_impossible(trials.log_prob)
    total = jnp.where(invalid, NEG_INF, log_prob.reshape(shape) + trials.log_prob)
    found = Hypotheses(tokens.reshape(*shape, trials.width), total, total)
    return first_candidates(rerank(found, confidence.reshape(shape) + trials.log_prob, alpha), count)


def _decode(
    spec: TransformerSpec,
    options: VanillaOptions,
    params: Params,
    source: Array,
    key: Key,
    num_candidates: int,
) -> Hypotheses:
    """One hypothesis for each of n lengths around the most likely one, best first by own score.

    `key` is not used.
    """
    del key
    count, copies_source = max(num_candidates, options.length_candidates), options.copies_source
    trials = length_trials(spec, params, source, count, copies_source=copies_source)
    tokens, log_prob = _best_tokens(options, trials.predict(None), trials.lengths.reshape(-1))
    alpha = options.length_penalty
    return best_of_lengths(trials, tokens, log_prob, log_prob, alpha=alpha, count=num_candidates)


def _best_tokens(options: VanillaOptions, log_probs: Array, lengths: Array) -> tuple[Array, Array]:
    match options.decoder:
        case "argmax":
            return argmax_decode(log_probs, lengths)
        case "odd":
            penalty = jnp.inf if options.odd_penalty is None else options.odd_penalty
            return odd_decode(log_probs, lengths, penalty)
        case name:
            raise AssertionError(f"nothing decodes as the decoder {name!r} of VanillaOptions.DECODERS")
