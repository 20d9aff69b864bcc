"""A student as ONNX files: the whole way from tokens to tokens, in float32 and with int8 weights."""

import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from emnat_jax.config import FAMILIES, ModelSpec
from emnat_jax.errors import UserError
from emnat_jax.export.graph import Graph, Value
from emnat_jax.export.head import OUTPUT, Head, Inputs, listed_words
from emnat_jax.export.packages import need
from emnat_jax.export.shortlist import Shortlist
from emnat_jax.tokens import PAD
from emnat_jax.types import Params


class Student(NamedTuple):
    """What is written."""

    model: ModelSpec
    params: Params
    buckets: Sequence[int]


def require_graph(student: Student) -> None:
    """UserError for a family or a decoder without a graph; nothing is written."""
    _graph(student, None, int8_head=False)


def write_float32(path: epath.PathLike, student: Student, shortlist: Shortlist | None = None) -> None:
    """The graph of a student: source i32[B, S] -> tokens i32[B, T], for any B and S.

    An output is no longer than the model has it for a source of its bucket, and has words of the shortlist
    alone. UserError for a family or a decoder without a graph.
    """
    _write(path, student, shortlist, int8_head=False)


def write_int8(
    path: epath.PathLike, student: Student, shortlist: Shortlist | None = None, floats: Sequence[str] = ()
) -> None:
    """The same with weights of 8 bits by output channel, and activations that are rounded at run time.

    Products whose weights have one of `floats` in their name stay in float32.
    """
    quantization, onnx = need("onnxruntime.quantization"), need("onnx")
    with tempfile.TemporaryDirectory() as folder:
        floating, inferred = f"{folder}/float32.onnx", f"{folder}/inferred.onnx"
        _write(floating, student, shortlist, int8_head=OUTPUT not in floats)
        prepare = need("onnxruntime.quantization.shape_inference").quant_pre_process
        prepare(floating, inferred, skip_symbolic_shape=True)
        nodes = onnx.load(inferred).graph.node
        quantization.quantize_dynamic(
            inferred,
            str(path),
            op_types_to_quantize=["MatMul"],
            nodes_to_exclude=[node.name for node in nodes if _uses(node, floats)],
            per_channel=True,
            # 7 bits: the products of x86 processors without VNNI overflow with 8, and quality is the same.
            reduce_range=True,
            weight_type=quantization.QuantType.QInt8,
        )


def _write(path: epath.PathLike, student: Student, shortlist: Shortlist | None, *, int8_head: bool) -> None:
    graph, tokens = _graph(student, shortlist, int8_head=int8_head)
    need("onnx").save(graph.model("tokens", tokens, ["B", "T"]), str(path))


def _graph(student: Student, shortlist: Shortlist | None, *, int8_head: bool) -> tuple[Graph, Value]:
    """With its output i32[B, T]."""
    model = student.model
    translate = FAMILIES[model.family].graph
    if translate is None:
        raise UserError(f"the family {model.family} has no ONNX graph; a teacher goes to CTranslate2.")
    graph = Graph()
    source = graph.input("source", "int32", ["B", "S"])
    limits = graph.weight("limits", _limits(model, student.buckets))
    limit = limits.take((~source.equals(PAD)).cast("int64").sum(1))
    head = Head() if shortlist is None else Head(listed_words(graph, shortlist, source), int8_head)
    inputs = Inputs(source, limit, head)
    return graph, translate(graph, model.transformer, model.options, student.params, inputs)


def _uses(node: Any, weights: Sequence[str]) -> bool:
    return any(part in name for part in weights for name in node.input)


def _limits(model: ModelSpec, buckets: Sequence[int]) -> np.ndarray:
    """i64[max_length + 1]: the most tokens of an output, by the length of its source."""
    spec = model.transformer
    widths = [
        next((b for b in sorted(buckets) if length <= b), length) for length in range(spec.max_length + 1)
    ]
    return np.array([spec.output_length(width) for width in widths], np.int64)
