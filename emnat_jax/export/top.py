"""The largest scores of a long row in an ONNX graph: as `decoding.top`, for the same reason."""

from typing import NamedTuple

import numpy as np

from emnat_jax.decoding.top import CHUNK
from emnat_jax.export.graph import Graph, Value


class Chunked(NamedTuple):
    """Scores f32[B, T, V] in chunks, and the largest of each: a maximum is fast, a search for it is not."""

    chunks: Value  # f32[B, T, V / CHUNK, CHUNK]
    largest: Value  # f32[B, T, V / CHUNK]
    number: int  # V / CHUNK

    def inside(self, graph: Graph) -> "Chunked":
        """The same for an inner graph."""
        return Chunked(graph.inner(self.chunks), graph.inner(self.largest), self.number)


def chunked(scores: Value, size: int) -> Chunked:
    """Scores of a vocabulary of `size` ids, a multiple of CHUNK, in chunks."""
    chunks = scores.reshape(0, 0, -1, CHUNK)
    return Chunked(chunks, chunks.max(3), size // CHUNK)


def top_1(found: Chunked) -> Value:
    """i64[B, T]: the best id of each row; the lowest in ties."""
    chunk = found.largest.argmax().unsqueeze(2)
    inside = _searched(found, chunk).argmax(3).squeeze(2)
    return chunk.squeeze(2) * CHUNK + inside


def top_k(graph: Graph, found: Chunked, count: int) -> tuple[Value, Value]:
    """The `count` best scores of each row and their ids, best first: f32[B, T, k], i64[B, T, k]."""
    few = min(count, found.number)
    _, chunk = graph.ops("TopK", found.largest, np.array([few]), axis=-1, dtypes=["float32", "int64"])
    # In the row's order, which settles ties.
    ordered, _ = graph.ops("TopK", chunk, np.array([few]), axis=-1, largest=0, dtypes=["int64", "int64"])
    searched = _searched(found, ordered).reshape(0, 0, few * CHUNK)
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
