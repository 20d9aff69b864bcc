"""The position-wise student as an ONNX graph: lengths, one pass for each, ODD or argmax, the best of them."""

from typing import NamedTuple

import numpy as np

from emnat_jax.config import CMLMOptions, TransformerSpec, VanillaOptions
from emnat_jax.errors import require
from emnat_jax.export.graph import Graph, Value
from emnat_jax.export.head import Inputs
from emnat_jax.export.layers import Encoded, Layers
from emnat_jax.export.odd import odd
from emnat_jax.export.top import Chunked, top_1
from emnat_jax.families.vocabulary import generable
from emnat_jax.types import EOS, NEG_INF, PAD, Params


def translate(
    graph: Graph, spec: TransformerSpec, options: VanillaOptions, params: Params, inputs: Inputs
) -> Value:
    """i32[B, T]: what `families.vanilla` decodes."""
    layers = Layers(graph, spec, params, inputs.head)
    trials = _lengths(layers, params, inputs, options.length_candidates)
    copied = inputs.source.repeat(trials.candidates) if options.copies_source else None
    scores, free = _predict(layers, trials, copied)
    if options.decoder == "odd":
        tokens = odd(graph, scores, free, options.odd_penalty, spec.output_length(spec.max_length))
    else:
        tokens = top_1(scores)
    return _best(graph, trials, _Found(scores, tokens, free), options.length_penalty)


def translate_masked(
    graph: Graph, spec: TransformerSpec, options: CMLMOptions, params: Params, inputs: Inputs
) -> Value:
    """The same of `families.cmlm` for its fully masked pass; UserError where it has more passes."""
    require(
        options.iterations == 1,
        f"cmlm.iterations={options.iterations}: one pass can be exported; use --decoder=single_pass.",
    )
    single = VanillaOptions(
        length_candidates=options.length_candidates, length_penalty=options.length_penalty, decoder="argmax"
    )
    return translate(graph, spec, single, params, inputs)


class _Trials(NamedTuple):
    """The N = B x K pairs of a source and a length."""

    memory: Encoded  # of N rows
    lengths: Value  # i64[N]
    log_prob: Value | None  # f32[B, K] of the lengths; None for a single one
    candidates: int  # K


class _Found(NamedTuple):
    """What a pass gives, of N rows."""

    scores: Chunked
    tokens: Value  # their places in the scores
    free: Value


def _lengths(layers: Layers, params: Params, inputs: Inputs, count: int) -> _Trials:
    """As `decoding.length_parallel.candidate_lengths`, by row."""
    graph, width = layers.graph, layers.spec.width
    encoded = layers.encode(inputs.source, np.asarray(params["length_slot"]) * np.float32(width**0.5))
    words = Encoded(encoded.states.after_first(1), encoded.keep.after_first(1))
    table = np.asarray(params["length_head"]["table"])[1:]  # 0 is no length
    logits = encoded.states.slice(1, 0, 1).squeeze(1) @ graph.weight("length_head", table.T)
    length, limit = logits.argmax().unsqueeze(1) + 1, inputs.limit.unsqueeze(1)
    start = graph.maximum(graph.minimum(length, limit) - count // 2, np.array(2))
    wanted = graph.minimum(start, limit) + np.arange(count)
    lengths = graph.minimum(wanted, limit)
    if count == 1:
        return _Trials(words, lengths.squeeze(1), None, 1)
    log_probs = graph.op("LogSoftmax", logits, axis=-1, dtype="float32")
    log_prob = graph.where(wanted <= limit, log_probs.take_along(lengths - 1, 1), NEG_INF)
    return _Trials(Encoded(*(part.repeat(count) for part in words)), lengths.reshape(-1), log_prob, count)


def _predict(layers: Layers, trials: _Trials, copied: Value | None) -> tuple[Chunked, Value]:
    """Scores of each position, and which are not EOS or behind it; T is the longest length.

    Positions start from the sources `copied` i32[N, S], or from PAD.
    """
    graph, spec, lengths = layers.graph, layers.spec, trials.lengths
    width = lengths.max(0, keepdims=True)
    place = graph.arange(width).unsqueeze(0)
    if copied is not None:
        inputs = layers.embed(_spread(graph, copied, lengths, place))
    else:
        inputs = (layers.positions(width) + layers.embedding_of(PAD)).unsqueeze(0)
        inputs = inputs.expand(lengths.size(0), width, spec.width)
    states = layers.decode(inputs, trials.memory, place < lengths.unsqueeze(1))
    # Only a choice among lengths needs log-probabilities: with one, all scores of a position shift alike.
    several = trials.log_prob is not None
    allowed = generable(spec, eos=False)
    scores = layers.scores(states, allowed, copies=trials.candidates, log_probs=several)
    return scores, place < (lengths - 1).unsqueeze(1)


def _spread(graph: Graph, source: Value, lengths: Value, place: Value) -> Value:
    """As `families.length_network.spread`; what stands behind a length is not seen."""
    last_token = (~source.equals(PAD)).cast("int64").sum(1, keepdims=True) - 1
    last = lengths.unsqueeze(1) - 1
    index = (place * last_token * 2 + last) / graph.maximum(last * 2, np.array(1))
    return source.take_along(graph.minimum(index, last_token), 1)


def _best(graph: Graph, trials: _Trials, found: _Found, alpha: float) -> Value:
    """i32[B, T]: the tokens of the best length of each source."""
    lengths = trials.lengths.unsqueeze(1)
    place = graph.arange(found.tokens.size(1)).unsqueeze(0)
    tokens = graph.where(found.free, found.scores.words(found.tokens), EOS)
    tokens = graph.where(place < lengths, tokens, PAD)
    if trials.log_prob is None:
        return tokens.cast("int32")
    scores = found.scores.chunks.reshape(0, 0, -1)
    taken = scores.take_along(found.tokens.unsqueeze(2), 2).squeeze(2)
    total = graph.where(found.free, taken, 0.0).sum(1).reshape(-1, trials.candidates) + trials.log_prob
    score = _ranked(graph, total, trials.lengths.reshape(-1, trials.candidates), alpha)
    possible = graph.where(trials.log_prob > NEG_INF / 2, score, NEG_INF)
    return tokens.pick_row(possible.argmax(), trials.candidates).cast("int32")


def _ranked(graph: Graph, log_prob: Value, lengths: Value, alpha: float) -> Value:
    """log_prob / ((5 + length) / 6)^alpha, as `decoding.rerank.rank_score`."""
    if not alpha:
        return log_prob
    return log_prob / graph.op("Pow", (lengths.cast("float32") + 5.0) / 6.0, alpha, dtype="float32")
