"""Families whose decoder starts from the upsampled source: what `ctc` and `dag` share.

Each source token becomes several decoder positions, and the probability of a target is a sum over the ways in
which it can lie on them. There is no length head, and label smoothing is not used. A target that does not fit
on the positions has probability 0: training leaves it out and counts it as `unreachable`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from emnat_jax.decoding.beam import LogProbsFn, beam_search
from emnat_jax.decoding.rerank import first_candidates
from emnat_jax.families.base import Family
from emnat_jax.families.parallel import Parallel, Prediction, marginal_loss, parallel_family
from emnat_jax.models.dropout import dropout_rngs
from emnat_jax.models.upsample import UpsampledDecoder
from emnat_jax.types import BOS, EOS, Batch, Hypotheses, Key, Params


class Beam(NamedTuple):
    """A search over outputs instead of over single paths."""

    # (prediction, log_probs f32[B, L, V], beam) -> what beam_search takes: next log-probabilities, first
    # cache
    start: Callable[[Prediction, jax.Array, int], tuple[LogProbsFn, Any]]
    width: int  # of the beam; N-best lists widen it to N
    always: bool  # also where a single output is asked for
    length_penalty: float = 0.0
    length_reward: float = 0.0


class Decoder(NamedTuple):
    """How outputs are read off a prediction."""

    log_probs: Callable[[Prediction], jax.Array]  # f32[B, L, V]; normalised
    path: Callable[[Prediction, jax.Array, int], jax.Array]  # (prediction, log_probs, columns) -> i32[B, T]
    log_prob: Callable[[Prediction, jax.Array], jax.Array]  # of the path's tokens, as in Parallel
    beam: Beam


def upsampled_parts(
    module: UpsampledDecoder,
    log_prob: Callable[[Prediction, jax.Array], jax.Array],
    reference: Callable[[Prediction, Batch], jax.Array],
    *,
    is_deep: bool = False,
) -> Parallel:
    """The parts of a family with the network `module`, which has a method `predict(encoded, revealed)`.

    `log_prob` and `reference` as in Parallel; a prediction has the field `logits`. With `is_deep` training
    asks the module's method `predict_by_layer` in its place.
    """
    return Parallel(
        encode=functools.partial(_encode, module),
        predict=functools.partial(_predict, module, is_deep=is_deep),
        reference=reference,
        logits=lambda prediction: prediction.logits,
        log_prob=log_prob,
        loss=lambda prediction, batch, hidden: marginal_loss(log_prob(prediction, batch.target), batch),
        predicts_from_source=True,
    )


def upsampled_family(module: UpsampledDecoder, parts: Parallel, decoder: Decoder) -> Family:
    """The family of these parts."""
    inputs = (jnp.full((1, 2), EOS, jnp.int32),)
    return parallel_family(module, inputs, parts, functools.partial(_decode, module, decoder))


def _encode(module: UpsampledDecoder, params: Params, batch: Batch, key: Key | None) -> Any:
    return module.apply({"params": params}, batch.source, rngs=dropout_rngs(key), method="encode")


def _predict(
    module: UpsampledDecoder,
    params: Params,
    memory: Any,
    batch: Batch,
    revealed: Any,
    key: Key | None,
    *,
    is_deep: bool,
) -> Any:
    """Layers below the last have a loss in training alone: evaluation measures the model that decodes."""
    method = "predict_by_layer" if is_deep and key is not None else "predict"
    return module.apply({"params": params}, memory, revealed, rngs=dropout_rngs(key), method=method)


def _decode(
    module: UpsampledDecoder,
    decoder: Decoder,
    params: Params,
    source: Int[Array, "B S"],
    key: Key,
    num_candidates: int,
) -> Hypotheses:
    """The output of one path, or the best of a beam; with their exact log-probability. `key` is not used."""
    del key
    width = module.spec.output_length(source.shape[1])
    memory = module.apply({"params": params}, source, method="encode")
    prediction = module.apply({"params": params}, memory, method="predict")
    log_probs = decoder.log_probs(prediction)
    if num_candidates > 1 or decoder.beam.always:
        return _search(decoder.beam, prediction, log_probs, width, num_candidates)
    tokens = decoder.path(prediction, log_probs, width)
    log_prob = decoder.log_prob(prediction, tokens)[:, None]
    return Hypotheses(tokens[:, None], log_prob, log_prob)


def _search(
    beam: Beam, prediction: Prediction, log_probs: jax.Array, width: int, num_candidates: int
) -> Hypotheses:
    size = max(num_candidates, beam.width)
    step, cache = beam.start(prediction, log_probs, size)
    first = jnp.full((log_probs.shape[0], size), BOS, jnp.int32)
    found = beam_search(
        step,
        cache,
        first,
        max_length=width,
        length_penalty=beam.length_penalty,
        length_reward=beam.length_reward,
    )
    return first_candidates(found, num_candidates)
