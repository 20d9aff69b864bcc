"""The decoder over the upsampled source, which the ONNX graphs of `ctc` and `dag` share."""

from typing import Any

import numpy as np

from emnat_jax.export.graph import Graph, Value
from emnat_jax.export.layers import Encoded, Layers
from emnat_jax.models.embedding import sinusoids
from emnat_jax.types import PAD, Params


class Upsampled:
    """States of the L = `factor` x S decoder positions of a source (models/upsample.py)."""

    def __init__(self, layers: Layers, params: Params, factor: int, source: Value):
        spec, encoded = layers.spec, layers.encode(source)
        split = layers.projection("split", params["split"], encoded.states)
        inputs = split.reshape(0, -1, spec.width)
        self.place = _place(layers, params, factor, inputs.size(1))  # f32[L, D]
        self.keep = encoded.keep.repeat_columns(factor)  # bool[B, L]
        self.count = self.keep.cast("int64").sum(1)  # i64[B]; real positions
        self.states = layers.decode(inputs + self.place, Encoded(*encoded), self.keep)


def kept_tokens(tokens: Value, keep: Value, width: Value) -> Value:
    """i64[B, W]: of the tokens i64[B, L] the first `width` i64[1] that are kept; then PAD."""
    graph = tokens.graph
    counted = graph.op("CumSum", keep.cast("int64"), np.array(1), dtype="int64")
    # What is not kept, or is beyond the output, goes to one more column, which is cut off.
    place = graph.where(keep, graph.minimum(counted - 1, width), width)
    empty = graph.shape_of([tokens.size(0), width + 1])
    empty = graph.op("ConstantOfShape", empty, dtype="int64", value=Graph.tensor(np.array([PAD])))
    return graph.op("ScatterElements", empty, place, tokens, axis=1, dtype="int64").slice(1, 0, width)


def _place(layers: Layers, params: Params, factor: int, count: Value) -> Value:
    """Sources are never longer than the model's limit, so that the table has all positions."""
    spec = layers.spec
    table: Any = sinusoids(factor * spec.max_length, spec.width)
    if spec.positions == "learned":
        table = np.asarray(params["positions"]) * np.float32(spec.width**0.5)
    return layers.graph.weight("places", np.asarray(table)).slice(0, 0, count)
