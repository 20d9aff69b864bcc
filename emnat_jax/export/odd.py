"""Optimal de-duplicated decoding (docs/method.md, section 10.3) in an ONNX graph."""

import numpy as np

from emnat_jax.decoding.odd import CANDIDATES
from emnat_jax.export.graph import Graph, Value

_FORBIDDEN = 1e9  # nats that an equal neighbour costs where none is allowed


def odd(graph: Graph, scores: Value, free: Value, penalty: float | None) -> Value:
    """i64[B, T]: the tokens of the highest sum of `scores` f32[B, T, V] - penalty x (equal neighbours).

    Only positions of `free` bool[B, T] count. The best token of each position is the answer where no two
    neighbours are equal, and then nothing is searched.
    """
    best = scores.argmax()
    equal = best.slice(1, 0, -1).equals(best.slice(1, 1, np.iinfo(np.int64).max))
    repeats = equal & free.slice(1, 1, np.iinfo(np.int64).max)
    found = repeats.cast("int32").sum(1, keepdims=True).sum(0, keepdims=True).squeeze(0, 1) > 0
    cost = _FORBIDDEN if penalty is None else penalty
    return graph.if_else(
        found, lambda inner: _search(inner, scores, free, cost), lambda inner: inner.inner(best)
    )


def _search(graph: Graph, scores: Value, free: Value, cost: float) -> Value:
    values, tokens = graph.ops(
        "TopK", graph.inner(scores), np.array([CANDIDATES]), axis=-1, dtypes=["float32", "int64"]
    )
    free = graph.inner(free)
    rows = values.size(0)
    nothing = graph.weight("odd.nothing", np.full((1, CANDIDATES), -1)).expand(rows, CANDIDATES)
    zeros = graph.weight("odd.zeros", np.zeros((1, CANDIDATES), np.float32)).expand(rows, CANDIDATES)

    def forward(step: Graph, carried: list[Value], items: list[Value]) -> tuple[list[Value], list[Value]]:
        total, before = carried
        value, token, real = items
        equal = before.unsqueeze(2).equals(token.unsqueeze(1)).cast("float32")
        into = total.unsqueeze(2) - equal * cost
        real = real.unsqueeze(1)
        extended = step.where(real, into.max(1) + value, total)
        link = step.where(real, into.argmax(1), np.arange(CANDIDATES)[None])
        return [extended, token], [link]

    by_place = [values.transpose(1, 0, 2), tokens.transpose(1, 0, 2), free.transpose(1, 0)]
    (total, _), (links,) = graph.scan(forward, [zeros, nothing], by_place)

    def backward(step: Graph, carried: list[Value], items: list[Value]) -> tuple[list[Value], list[Value]]:
        (choice,), (link,) = carried, items
        return [link.take_along(choice.unsqueeze(1), 1).squeeze(1)], [choice]

    _, (choices,) = graph.scan(backward, [total.argmax(1)], [links], reverse=True)
    return tokens.take_along(choices.transpose(1, 0).unsqueeze(2), 2).squeeze(2)
