"""Optimal de-duplicated decoding (docs/method.md, section 10.3) in an ONNX graph."""

import numpy as np

from emnat_jax.decoding.odd import CANDIDATES
from emnat_jax.export.graph import Graph, Value
from emnat_jax.export.top import Chunked, top_1, top_k

_FORBIDDEN = 1e9  # nats that an equal neighbour costs where none is allowed
_IMPOSSIBLE = -1e18  # far below any path, forbidden neighbours and all


def odd(graph: Graph, found: Chunked, free: Value, penalty: float | None) -> Value:
    """i64[B, T]: the tokens of the highest sum of scores - penalty x (equal neighbours).

    Only positions of `free` bool[B, T] count. The best token of each position is the answer where no two
    neighbours are equal, and then nothing is searched.
    """
    best = top_1(found)
    repeats = best.slice(1, 0, -1).equals(best.after_first(1)) & free.after_first(1)
    some = repeats.cast("int32").sum(1, keepdims=True).sum(0, keepdims=True).squeeze(0, 1) > 0
    cost = _FORBIDDEN if penalty is None else penalty
    return graph.if_else(
        some,
        lambda inner: _search(inner, found.inside(inner), inner.inner(free), cost),
        lambda inner: inner.inner(best),
    )


def _search(graph: Graph, found: Chunked, free: Value, cost: float) -> Value:
    values, tokens = top_k(graph, found, CANDIDATES)
    steps = _steps(graph, values, tokens, free, cost).transpose(1, 0, 2, 3)
    first = graph.where(free.slice(1, 0, 1), values.slice(1, 0, 1).squeeze(1), np.float32(0))

    def forward(step: Graph, carried: list[Value], items: list[Value]) -> tuple[list[Value], list[Value]]:
        (total,), (gain,) = carried, items
        ways = total.unsqueeze(2) + gain
        return [ways.max(1)], [ways.argmax(1)]

    (total,), (links,) = graph.scan(forward, [first], [steps])

    def backward(step: Graph, carried: list[Value], items: list[Value]) -> tuple[list[Value], list[Value]]:
        (choice,), (link,) = carried, items
        before = link.take_along(choice, 1)
        return [before], [before]

    last = total.argmax(1).unsqueeze(1)
    _, (choices,) = graph.scan(backward, [last], [links], reverse=True)
    path = graph.concat([choices, last.unsqueeze(0)], axis=0).transpose(1, 0, 2)
    return tokens.take_along(path, 2).squeeze(2)


def _steps(graph: Graph, values: Value, tokens: Value, free: Value, cost: float) -> Value:
    """f32[B, T - 1, from, to]: what each step adds to a path; behind a row's end paths stand still."""
    before, after = tokens.slice(1, 0, -1).unsqueeze(3), tokens.after_first(1).unsqueeze(2)
    gain = values.after_first(1).unsqueeze(2) - before.equals(after).cast("float32") * cost
    still = np.where(np.eye(CANDIDATES, dtype=bool), 0.0, _IMPOSSIBLE).astype(np.float32)
    return graph.where(free.after_first(1).unsqueeze(2, 3), gain, still)
