"""Normalised scores in an ONNX graph."""

import numpy as np

from emnat_jax.export.graph import Graph, Value
from emnat_jax.export.top import Chunked


def log_partition(graph: Graph, found: Chunked) -> Value:
    """f32[B, T]: log sum exp of the scores."""
    return graph.op("ReduceLogSumExp", found.chunks, np.array([2, 3]), keepdims=0, dtype="float32")


def ranked(graph: Graph, log_prob: Value, lengths: Value, alpha: float) -> Value:
    """log_prob / ((5 + length) / 6)^alpha, as `decoding.rerank.rank_score`."""
    if not alpha:
        return log_prob
    penalty = graph.op("Pow", (lengths.cast("float32") + 5.0) / 6.0, alpha, dtype="float32")
    return log_prob / penalty
