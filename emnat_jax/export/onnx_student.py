"""A student as ONNX files: the whole way from tokens to tokens, in float32 and with int8 weights."""

import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from emnat_jax.config import FAMILIES, ModelSpec
from emnat_jax.errors import UserError
from emnat_jax.export.graph import Graph
from emnat_jax.export.packages import need
from emnat_jax.tokens import PAD
from emnat_jax.types import Params


def write_float32(path: epath.PathLike, model: ModelSpec, params: Params, buckets: Sequence[int]) -> None:
    """The graph of a student: source i32[B, S] -> tokens i32[B, T], for any B and S.

    An output is no longer than the model has it for a source of its bucket. UserError for a family or a
    decoder without a graph.
    """
    translate = FAMILIES[model.family].graph
    if translate is None:
        raise UserError(f"the family {model.family} has no ONNX graph; a teacher goes to CTranslate2.")
    graph, spec = Graph(), model.transformer
    source = graph.input("source", "int32", ["B", "S"])
    limits = graph.weight("limits", _limits(model, buckets))
    limit = limits.take((~source.equals(PAD)).cast("int64").sum(1))
    tokens = translate(graph, spec, model.options, params, source, limit)
    need("onnx").save(graph.model("tokens", tokens, ["B", "T"]), str(path))


def write_int8(source: epath.PathLike, path: epath.PathLike, floats: Sequence[str] = ()) -> None:
    """The same with weights of 8 bits, by output channel, and activations that are rounded at run time.

    Products whose weights have one of `floats` in their name stay in float32.
    """
    quantization, onnx = need("onnxruntime.quantization"), need("onnx")
    with tempfile.TemporaryDirectory() as folder:
        inferred = f"{folder}/inferred.onnx"
        prepare = need("onnxruntime.quantization.shape_inference").quant_pre_process
        prepare(str(source), inferred, skip_symbolic_shape=True)
        nodes = onnx.load(inferred).graph.node
        quantization.quantize_dynamic(
            inferred,
            str(path),
            op_types_to_quantize=["MatMul"],
            nodes_to_exclude=[node.name for node in nodes if _uses(node, floats)],
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
        )


def _uses(node: Any, weights: Sequence[str]) -> bool:
    return any(part in name for part in weights for name in node.input)


def _limits(model: ModelSpec, buckets: Sequence[int]) -> np.ndarray:
    """i64[max_length + 1]: the most tokens of an output, by the length of its source."""
    spec = model.transformer
    widths = [
        next((b for b in sorted(buckets) if length <= b), length) for length in range(spec.max_length + 1)
    ]
    return np.array([spec.output_length(width) for width in widths], np.int64)
