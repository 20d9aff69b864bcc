"""The DA-Transformer student as an ONNX graph: vertices, links, and the decoders that follow one path."""

from typing import NamedTuple

import numpy as np

from emnat_jax.config import DAGOptions, TransformerSpec
from emnat_jax.errors import require
from emnat_jax.export.graph import Graph, Value
from emnat_jax.export.head import Inputs
from emnat_jax.export.layers import Layers
from emnat_jax.export.top import top_1
from emnat_jax.export.upsampled import Upsampled, kept_tokens
from emnat_jax.families.vocabulary import generable
from emnat_jax.types import EOS, NEG_INF, PAD, Params


def translate(
    graph: Graph, spec: TransformerSpec, options: DAGOptions, params: Params, inputs: Inputs
) -> Value:
    """i32[B, T]: what `families.dag` decodes along a path.

    UserError for its beam.
    """
    require(
        options.decoder != "beam",
        "dag.decoder=beam: decoders of one path can be exported; use --decoder=joint_viterbi or lookahead.",
    )
    layers, limit = Layers(graph, spec, params, inputs.head), inputs.limit
    vertices = Upsampled(layers, params, options.factor, inputs.source)
    found = _vertices(layers, vertices)
    links = _links(layers, vertices, params["link_head"], options)
    width = limit.max(0, keepdims=True) + 1
    joint = links + found.values.unsqueeze(1)
    match options.decoder:
        case "greedy":
            path = _follow(graph, links, width)
        case "lookahead":
            path = _follow(graph, joint, width)
        case "viterbi":
            path = _best_path(graph, links, found.last, limit, width, options.length_exponent)
        case _:
            path = _best_path(graph, joint, found.last, limit, width, options.length_exponent)
    tokens = _read(graph, found, path, limit)
    if options.collapse_repeats:
        tokens = _without_repeats(graph, tokens, found.last, options.max_jump)
    return tokens.cast("int32")


class _Vertices(NamedTuple):
    """The best token of each vertex."""

    tokens: Value  # i64[B, L]
    values: Value  # f32[B, L]; its log-probability, 0 at the silent first vertex
    last: Value  # i64[B, 1]


class _Path(NamedTuple):
    """The vertices on the way from the first, and whether there is a way at all."""

    vertices: Value  # i64[B, W]
    possible: Value | None = None  # bool[B, 1]; None: always


def _vertices(layers: Layers, vertices: Upsampled) -> _Vertices:
    graph = layers.graph
    found = layers.scores(vertices.states, generable(layers.spec, eos=False), log_probs=True)
    values = found.largest.max(2)
    last = (vertices.count - 1).unsqueeze(1)
    place = graph.arange(values.size(1)).unsqueeze(0)
    at_last = place.equals(last)
    silent = at_last | place.equals(0)
    return _Vertices(
        graph.where(at_last, np.array(EOS), found.words(top_1(found))), graph.where(silent, 0.0, values), last
    )


def _links(layers: Layers, vertices: Upsampled, params: Params, options: DAGOptions) -> Value:
    """f32[B, L, L]: log-probability of each vertex to follow each, as `models.heads.LinkHead`."""
    graph, heads, width = layers.graph, options.link_heads, layers.spec.width
    states = vertices.states
    place = vertices.place.unsqueeze(0).expand(states.size(0), states.size(1), width)
    x = graph.concat([states, place], axis=2)
    pair = layers.projection("links.query_key", params["query_key"], x).reshape(0, 0, 2, heads, -1)
    query, key = (pair.slice(2, n, n + 1).squeeze(2) for n in range(2))
    scale = float((width // layers.spec.heads) ** -0.5)
    scores = (query * scale).transpose(0, 2, 1, 3) @ key.transpose(0, 2, 3, 1)
    allowed = _successors(graph, vertices.keep, options.max_jump)
    by_head = _masked_log_softmax(graph, scores, allowed.unsqueeze(1))
    gate = layers.projection("links.gate", params["gate"], x)
    gate = graph.op("LogSoftmax", gate, axis=-1, dtype="float32").transpose(0, 2, 1).unsqueeze(3)
    mixed = graph.op("ReduceLogSumExp", by_head + gate, np.array([1]), keepdims=0, dtype="float32")
    return graph.where(allowed, mixed, NEG_INF)


def _masked_log_softmax(graph: Graph, scores: Value, allowed: Value) -> Value:
    masked = graph.where(allowed, scores, NEG_INF)
    return graph.where(allowed, graph.op("LogSoftmax", masked, axis=-1, dtype="float32"), NEG_INF)


def _successors(graph: Graph, keep: Value, max_jump: int | None) -> Value:
    """bool[B, L, L]: which vertices may follow each."""
    place = graph.arange(keep.size(1))
    ahead = place.unsqueeze(0) - place.unsqueeze(1)
    reach = ahead > 0
    if max_jump is not None:
        reach = reach & (ahead <= max_jump)
    return reach.unsqueeze(0) & keep.unsqueeze(1) & keep.unsqueeze(2)


def _follow(graph: Graph, scores: Value, width: Value) -> _Path:
    """Along the highest of `scores` [B, from, to] at each vertex."""
    best = scores.argmax(2)

    def step(inner: Graph, carried: list[Value], items: list[Value]) -> tuple[list[Value], list[Value]]:
        (vertex,) = carried
        return [inner.inner(best).take_along(vertex, 1)], [vertex.squeeze(1)]

    _, (vertices,) = graph.scan(step, [_first(graph, scores)], [graph.arange(width)])
    return _Path(vertices.transpose(1, 0))


def _best_path(graph: Graph, scores: Value, last: Value, limit: Value, width: Value, beta: float) -> _Path:
    """Along the path of the highest sum of `scores` / vertices^beta, of at most `limit` + 1 vertices.

    As `decoding.dag`: from the end, onward[n, u] is the best way from u over n links.
    """
    place = graph.arange(scores.size(1)).unsqueeze(0)
    start = graph.where(place.equals(last), np.float32(0), np.float32(NEG_INF))

    def longer(inner: Graph, carried: list[Value], items: list[Value]) -> tuple[list[Value], list[Value]]:
        (onward,) = carried
        ways = inner.inner(scores) + onward.unsqueeze(1)
        return [ways.max(2)], [onward.slice(1, 0, 1).squeeze(1), ways.argmax(2)]

    steps = graph.arange(width)
    _, (totals, choices) = graph.scan(longer, [start], [steps])
    lengths = (steps + 1).cast("float32").unsqueeze(1)
    allowed = (totals > NEG_INF / 2) & (steps.unsqueeze(1) <= limit.unsqueeze(0))
    penalty = graph.op("Pow", lengths, float(beta), dtype="float32")
    ranks = graph.where(allowed, totals / penalty, -np.inf)
    links = ranks.argmax(0).unsqueeze(1)
    count = scores.size(1)
    by_row = choices.transpose(1, 0, 2).reshape(0, -1)

    def walk(inner: Graph, carried: list[Value], items: list[Value]) -> tuple[list[Value], list[Value]]:
        (vertex,), (position,) = carried, items
        left = inner.maximum(inner.inner(links) - position - 1, np.array(0))
        return [inner.inner(by_row).take_along(left * inner.inner(count) + vertex, 1)], [vertex.squeeze(1)]

    _, (vertices,) = graph.scan(walk, [_first(graph, scores)], [steps])
    return _Path(vertices.transpose(1, 0), ranks.max(0).unsqueeze(1) > -np.inf)


def _first(graph: Graph, scores: Value) -> Value:
    """i64[B, 1]: vertex 0 of each row."""
    return graph.weight("first_vertex", np.zeros((1, 1), np.int64)).expand(scores.size(0), 1)


def _read(graph: Graph, found: _Vertices, path: _Path, limit: Value) -> Value:
    """The tokens on a path without its silent start; EOS where it is cut, PAD behind its end."""
    vertices = path.vertices
    at_end = vertices.equals(found.last).cast("int64")
    ended = (graph.op("CumSum", at_end, np.array(1), dtype="int64") - at_end) > 0
    column, end = graph.arange(vertices.size(1)).unsqueeze(0), limit.unsqueeze(1)
    tokens = graph.where(column.equals(end), np.array(EOS), found.tokens.take_along(vertices, 1))
    none = ended | (column > end)
    if path.possible is not None:
        none = none | ~path.possible
    return graph.where(none, np.array(PAD), tokens).after_first(1)


def _without_repeats(graph: Graph, tokens: Value, last: Value, max_jump: int | None) -> Value:
    """As `decoding.dag.without_repeats`."""
    before = graph.concat([tokens.slice(1, 0, 1) * 0 + PAD, tokens.slice(1, 0, -1)], axis=1)
    keep = ~tokens.equals(before) & ~tokens.equals(PAD)
    kept = kept_tokens(tokens, keep, tokens.size(1))
    if max_jump is None:
        return kept
    count = keep.cast("int64").sum(1, keepdims=True)
    return graph.where(last <= count * max_jump, kept, tokens)
