"""Optimal de-duplicated decoding (docs/method.md, section 10.3) in an ONNX graph."""

from collections.abc import Sequence

import numpy as np

from emnat_jax.decoding.odd import CANDIDATES
from emnat_jax.export.graph import Graph, Value
from emnat_jax.export.top import Chunked, top_1, top_k

_FORBIDDEN = 1e9  # nats that an equal neighbour costs where none is allowed
_END = int(np.iinfo(np.int64).max)
_IMPOSSIBLE = -1e18  # far below any path, forbidden neighbours and all


def odd(graph: Graph, found: Chunked, free: Value, penalty: float | None, most: int) -> Value:
    """i64[B, T]: the places of the highest sum of scores - penalty x (equal neighbours), T at most `most`.

    Only positions of `free` bool[B, T] count. The best token of each position is the answer where no two
    neighbours are equal, and then nothing is searched.
    """
    best = top_1(found)
    repeats = best.slice(1, 0, -1).equals(best.after_first(1)) & free.after_first(1)
    some = repeats.cast("int32").sum(1, keepdims=True).sum(0, keepdims=True).squeeze(0, 1) > 0
    cost = _FORBIDDEN if penalty is None else penalty
    strides = [2**level for level in range(max(most - 2, 0).bit_length())]  # they sum to T - 2 or more
    return graph.if_else(
        some,
        lambda inner: _search(inner, found.inside(inner), inner.inner(free), cost, strides),
        lambda inner: inner.inner(best),
    )


def _search(graph: Graph, found: Chunked, free: Value, cost: float, strides: Sequence[int]) -> Value:
    """The best path by products of twice as many steps each time: a loop over positions takes far longer."""
    values, tokens = top_k(graph, found, CANDIDATES)
    steps = _steps(graph, values, tokens, free, cost)
    first = graph.where(free.slice(1, 0, 1), values.slice(1, 0, 1).squeeze(1), np.float32(0)).unsqueeze(1)
    # f32[B, T - 1, from, to]: the best way to each position from an earlier one, in the end from the first.
    ways = steps
    for stride in strides:
        earlier, later = ways.slice(1, 0, -stride), ways.slice(1, stride, _END)
        longer = (earlier.unsqueeze(4) + later.unsqueeze(2)).max(3)
        ways = graph.concat([ways.slice(1, 0, stride), longer], axis=1)
    totals = graph.concat([first, (first.unsqueeze(3) + ways).max(2)], axis=1)
    # i64[B, T - 1, to]: the candidate before each, in the end before the last position's
    back = (totals.slice(1, 0, -1).unsqueeze(3) + steps).argmax(2)
    for stride in strides:
        further = back.slice(1, 0, -stride).take_along(back.slice(1, stride, _END), 2)
        back = graph.concat([further, back.slice(1, -stride, _END)], axis=1)
    last = totals.slice(1, -1, _END).argmax(2).unsqueeze(2)
    path = graph.concat([back.take_along(last.expand(last.size(0), back.size(1), 1), 2), last], axis=1)
    return tokens.take_along(path, 2).squeeze(2)


def _steps(graph: Graph, values: Value, tokens: Value, free: Value, cost: float) -> Value:
    """f32[B, T - 1, from, to]: what each step adds to a path; behind a row's end paths stand still."""
    before, after = tokens.slice(1, 0, -1).unsqueeze(3), tokens.after_first(1).unsqueeze(2)
    gain = values.after_first(1).unsqueeze(2) - before.equals(after).cast("float32") * cost
    still = np.where(np.eye(CANDIDATES, dtype=bool), 0.0, _IMPOSSIBLE).astype(np.float32)
    return graph.where(free.after_first(1).unsqueeze(2, 3), gain, still)
