"""The largest scores of a long row in an ONNX graph: as `decoding.top`, for the same reason."""

from typing import Any, NamedTuple

import numpy as np

from emnat_jax.decoding.top import CHUNK
from emnat_jax.export.graph import Graph, Value


class Chunked(NamedTuple):
    """Scores f32[B, T, V] in chunks, and the largest of each: a maximum is fast, a search for it is not."""

    chunks: Value  # f32[B, T, V / CHUNK, CHUNK]
    largest: Value  # f32[B, T, V / CHUNK]
    number: int | None  # V / CHUNK; None where the inputs decide it
    ids: Value | None = None  # i64[V]: where the scores are of a part of the vocabulary, its ids

    def inside(self, graph: Graph) -> "Chunked":
        """The same for an inner graph."""
        return self._replace(chunks=graph.inner(self.chunks), largest=graph.inner(self.largest))

    def words(self, places: Value) -> Value:
        """i64: the ids of the vocabulary that stand at these places of a row of scores."""
        return places if self.ids is None else self.ids.take(places)


def chunked(scores: Value, size: int | None, ids: Value | None = None) -> Chunked:
    """Scores of `size` words, a multiple of CHUNK, in chunks; None: of as many as `ids` has."""
    chunks = scores.reshape(0, 0, -1, CHUNK)
    return Chunked(chunks, chunks.max(3), None if size is None else size // CHUNK, ids)


def top_1(found: Chunked) -> Value:
    """i64[B, T]: the place of the best score of each row; the first in ties."""
    chunk = found.largest.argmax().unsqueeze(2)
    inside = _searched(found, chunk).argmax(3).squeeze(2)
    return chunk.squeeze(2) * CHUNK + inside


def top_k(graph: Graph, found: Chunked, count: int) -> tuple[Value, Value]:
    """The `count` best scores of each row and their places, best first: f32[B, T, k], i64[B, T, k]."""
    number = found.number
    few: Any = np.array([count if number is None else min(count, number)])
    if number is None:
        few = graph.minimum(found.largest.size(2), few)
    _, chunk = graph.ops("TopK", found.largest, few, axis=-1, dtypes=["float32", "int64"])
    # In the row's order, which settles ties.
    ordered, _ = graph.ops("TopK", chunk, few, axis=-1, largest=0, dtypes=["int64", "int64"])
    searched = _searched(found, ordered).reshape(0, 0, -1)
    values, place = graph.ops("TopK", searched, np.array([count]), axis=-1, dtypes=["float32", "int64"])
    which = graph.op("Div", place, np.array(CHUNK), dtype="int64")
    return values, ordered.take_along(which, 2) * CHUNK + (place - which * CHUNK)


def _searched(found: Chunked, chunk: Value) -> Value:
    """f32[B, T, k, CHUNK]: the chunks of these numbers."""
    graph = found.chunks.graph
    flat = found.chunks.reshape(-1, CHUNK)
    rows = graph.arange(found.largest.size(0))
    per_row = found.largest.size(2)
    positions = found.largest.size(1)
    first = (rows.unsqueeze(1) * positions + graph.arange(positions).unsqueeze(0)) * per_row
    return flat.take(first.unsqueeze(2) + chunk)
