"""Normalised scores in an ONNX graph."""

import numpy as np

from emnat_jax.export.graph import Graph, Value


def log_partition(graph: Graph, logits: Value) -> Value:
    """f32[..., 1]: log sum exp over the last axis."""
    return graph.op("ReduceLogSumExp", logits, np.array([-1]), keepdims=1, dtype="float32")


def ranked(graph: Graph, log_prob: Value, lengths: Value, alpha: float) -> Value:
    """log_prob / ((5 + length) / 6)^alpha, as `decoding.rerank.rank_score`."""
    if not alpha:
        return log_prob
    penalty = graph.op("Pow", (lengths.cast("float32") + 5.0) / 6.0, alpha, dtype="float32")
    return log_prob / penalty
