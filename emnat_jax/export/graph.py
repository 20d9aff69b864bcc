"""Writes an ONNX graph as array code is written: values with operators, constants where they are used."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 23  # the first with Attention
IR_VERSION = 11
_TYPES = {
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "float32": TensorProto.FLOAT,
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "bool": TensorProto.BOOL,
}

Branch = Callable[["Graph"], "Value"]
Step = Callable[["Graph", list["Value"], list["Value"]], tuple[list["Value"], list["Value"]]]


@dataclasses.dataclass(frozen=True, eq=False)
class Value:
    """An array of the graph. Operators are elementwise and broadcast as NumPy's do."""

    graph: Graph
    name: str
    dtype: str

    def __add__(self, other: Any) -> Value:
        return self.graph.op("Add", self, other, dtype=self.dtype)

    def __sub__(self, other: Any) -> Value:
        return self.graph.op("Sub", self, other, dtype=self.dtype)

    def __mul__(self, other: Any) -> Value:
        return self.graph.op("Mul", self, other, dtype=self.dtype)

    def __truediv__(self, other: Any) -> Value:
        return self.graph.op("Div", self, other, dtype=self.dtype)

    def __matmul__(self, other: Any) -> Value:
        return self.graph.op("MatMul", self, other, dtype=self.dtype)

    def __lt__(self, other: Any) -> Value:
        return self.graph.op("Less", self, other, dtype="bool")

    def __le__(self, other: Any) -> Value:
        return self.graph.op("LessOrEqual", self, other, dtype="bool")

    def __gt__(self, other: Any) -> Value:
        return self.graph.op("Greater", self, other, dtype="bool")

    def __and__(self, other: Any) -> Value:
        return self.graph.op("And", self, other, dtype="bool")

    def __or__(self, other: Any) -> Value:
        return self.graph.op("Or", self, other, dtype="bool")

    def __invert__(self) -> Value:
        return self.graph.op("Not", self, dtype="bool")

    def equals(self, other: Any) -> Value:
        """Elementwise ==, which Python needs for itself."""
        return self.graph.op("Equal", self, other, dtype="bool")

    def cast(self, dtype: str) -> Value:
        """The same in another type."""
        return self.graph.op("Cast", self, to=_TYPES[dtype], dtype=dtype)

    def reshape(self, *shape: int | Value) -> Value:
        """0 keeps a dimension, -1 is what is left; a Value i64[1] is a size that the inputs decide."""
        return self.graph.op("Reshape", self, self.graph.shape_of(shape), dtype=self.dtype)

    def transpose(self, *axes: int) -> Value:
        """The axes in another order."""
        return self.graph.op("Transpose", self, perm=axes, dtype=self.dtype)

    def expand(self, *shape: int | Value) -> Value:
        """Broadcast to a shape."""
        return self.graph.op("Expand", self, self.graph.shape_of(shape), dtype=self.dtype)

    def unsqueeze(self, *axes: int) -> Value:
        """With new axes of size 1."""
        return self.graph.op("Unsqueeze", self, np.array(axes), dtype=self.dtype)

    def squeeze(self, *axes: int) -> Value:
        """Without these axes, which have size 1."""
        return self.graph.op("Squeeze", self, np.array(axes), dtype=self.dtype)

    def size(self, axis: int) -> Value:
        """i64[1]: the length of one axis."""
        return self.graph.op("Shape", self, start=axis, end=axis + 1, dtype="int64")

    def slice(self, axis: int, start: int | Value, end: int | Value) -> Value:
        """From `start` to before `end` along one axis."""
        bounds = [np.array([x]) if isinstance(x, int) else x for x in (start, end)]
        return self.graph.op("Slice", self, *bounds, np.array([axis]), dtype=self.dtype)

    def after_first(self, axis: int) -> Value:
        """All but the first along one axis."""
        return self.slice(axis, 1, np.iinfo(np.int64).max)

    def repeat(self, count: int) -> Value:
        """Each row `count` times, one after the other."""
        rows = self.graph.arange(self.size(0)).unsqueeze(1).expand(self.size(0), count)
        return self.take(rows.reshape(-1))

    def repeat_columns(self, count: int) -> Value:
        """Each entry of [B, S] `count` times, one after the other: [B, S x count]."""
        return self.unsqueeze(2).expand(self.size(0), self.size(1), count).reshape(0, -1)

    def pick_row(self, index: Value, count: int) -> Value:
        """Of each `count` rows the one that `index` i64[B] says."""
        first = self.graph.arange(index.size(0)) * count
        return self.take(first + index)

    def take(self, index: Any, axis: int = 0) -> Value:
        """Rows of this table along an axis."""
        return self.graph.op("Gather", self, index, axis=axis, dtype=self.dtype)

    def take_along(self, index: Value, axis: int) -> Value:
        """As np.take_along_axis."""
        return self.graph.op("GatherElements", self, index, axis=axis, dtype=self.dtype)

    def sum(self, axis: int, *, keepdims: bool = False) -> Value:
        """Sum along an axis."""
        return self.graph.op("ReduceSum", self, np.array([axis]), keepdims=int(keepdims), dtype=self.dtype)

    def max(self, axis: int, *, keepdims: bool = False) -> Value:
        """Maximum along an axis."""
        return self.graph.op("ReduceMax", self, np.array([axis]), keepdims=int(keepdims), dtype=self.dtype)

    def argmax(self, axis: int = -1) -> Value:
        """i64: place of the first maximum."""
        return self.graph.op("ArgMax", self, axis=axis, keepdims=0, dtype="int64")


class Graph:
    """A graph under construction; `model` closes it."""

    def __init__(self, outer: Graph | None = None) -> None:
        self._nodes: list[onnx.NodeProto] = []
        # Inner graphs see the constants of the outermost one, and no name is there twice.
        self._constants: dict[str, onnx.TensorProto] = {} if outer is None else outer._constants
        self._inputs: list[onnx.ValueInfoProto] = []
        self._names: Iterator[int] = itertools.count() if outer is None else outer._names

    @staticmethod
    def tensor(array: np.ndarray) -> onnx.TensorProto:
        """An array as an attribute of a node."""
        return numpy_helper.from_array(array)

    def input(self, name: str, dtype: str, shape: Sequence[int | str]) -> Value:
        """An input; a name in `shape` stands for any size."""
        self._inputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], shape))
        return Value(self, name, dtype)

    def weight(self, name: str, array: Any) -> Value:
        """A named array of the model."""
        array = np.ascontiguousarray(array)
        self._constants[name] = numpy_helper.from_array(array, name)
        return Value(self, name, array.dtype.name)

    def op(self, kind: str, *inputs: Any, dtype: str, **attributes: Any) -> Value:
        """The only output of a node."""
        return self.ops(kind, *inputs, dtypes=(dtype,), **attributes)[0]

    def ops(self, kind: str, *inputs: Any, dtypes: Sequence[str], **attributes: Any) -> list[Value]:
        """The outputs of a node. Numbers and arrays among its inputs become constants; None is left out."""
        like = next((x.dtype for x in inputs if isinstance(x, Value)), None)
        names = ["" if x is None else self._named(x, like) for x in inputs]
        outputs = [f"{kind}_{next(self._names)}" for _ in dtypes]
        self._nodes.append(helper.make_node(kind, names, outputs, name=outputs[0], **attributes))
        return [Value(self, name, dtype) for name, dtype in zip(outputs, dtypes)]

    def where(self, condition: Value, chosen: Any, other: Any) -> Value:
        """Elementwise choice; a number takes the type of the other branch."""
        like = next(str(x.dtype) for x in (chosen, other) if hasattr(x, "dtype"))
        branches = [x if isinstance(x, Value) else np.array(x, like) for x in (chosen, other)]
        return self.op("Where", condition, *branches, dtype=like)

    def concat(self, values: Sequence[Any], axis: int) -> Value:
        """Arrays one after the other."""
        dtype = next(x.dtype for x in values if isinstance(x, Value))
        return self.op("Concat", *values, axis=axis, dtype=dtype)

    def minimum(self, one: Value, other: Any) -> Value:
        """Elementwise."""
        return self.op("Min", one, other, dtype=one.dtype)

    def maximum(self, one: Value, other: Any) -> Value:
        """Elementwise."""
        return self.op("Max", one, other, dtype=one.dtype)

    def arange(self, count: Value) -> Value:
        """i64[n]: 0, 1, ..., n - 1, for a count i64[1]."""
        return self.op("Range", np.array(0), count.squeeze(0), np.array(1), dtype="int64")

    def inner(self, value: Value) -> Value:
        """A value of an outer graph, to go on with in this one."""
        return Value(self, value.name, value.dtype)

    def if_else(self, condition: Value, chosen: Branch, other: Branch) -> Value:
        """What one of two functions of an inner graph gives; only that one is run."""
        branches, dtype = [], ""
        for branch in (chosen, other):
            inner = Graph(self)
            value = branch(inner)
            dtype = value.dtype
            branches.append(inner._body([value], []))
        return self.op("If", condition, then_branch=branches[0], else_branch=branches[1], dtype=dtype)

    def scan(
        self, step: Step, carried: Sequence[Value], items: Sequence[Value], *, reverse: bool = False
    ) -> tuple[list[Value], list[Value]]:
        """As jax.lax.scan over the first axis: (what is carried at the end, what the steps gave, stacked)."""
        inner = Graph(self)
        given = [inner._argument(value.dtype) for value in (*carried, *items)]
        after, made = step(inner, given[: len(carried)], given[len(carried) :])
        outputs = self.ops(
            "Scan",
            *carried,
            *items,
            body=inner._body([*after, *made], given),
            num_scan_inputs=len(items),
            scan_input_directions=[int(reverse)] * len(items),
            scan_output_directions=[int(reverse)] * len(made),
            dtypes=[value.dtype for value in (*after, *made)],
        )
        return outputs[: len(after)], outputs[len(after) :]

    def _argument(self, dtype: str) -> Value:
        return Value(self, f"argument_{next(self._names)}", dtype)

    def _body(self, outputs: Sequence[Value], inputs: Sequence[Value]) -> onnx.GraphProto:
        outputs = [self.op("Identity", self.inner(value), dtype=value.dtype) for value in outputs]
        given, made = (
            [helper.make_tensor_value_info(value.name, _TYPES[value.dtype], None) for value in values]
            for values in (inputs, outputs)
        )
        return helper.make_graph(self._nodes, f"body_{next(self._names)}", given, made)

    def shape_of(self, sizes: Sequence[int | Value]) -> Any:
        """A shape whose sizes are numbers, or values i64[1]."""
        if all(isinstance(size, int) for size in sizes):
            return np.array(sizes)
        return self.concat([np.array([x]) if isinstance(x, int) else x for x in sizes], axis=0)

    def model(self, name: str, output: Value, shape: Sequence[int | str]) -> onnx.ModelProto:
        """The finished model, checked; its output `name` is a value of this shape."""
        self._nodes.append(helper.make_node("Identity", [output.name], [name]))
        infos = [helper.make_tensor_value_info(name, _TYPES[output.dtype], shape)]
        constants = list(self._constants.values())
        graph = helper.make_graph(self._nodes, name, self._inputs, infos, constants)
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return model

    def _named(self, operand: Any, like: str | None) -> str:
        if isinstance(operand, Value):
            return operand.name
        is_number = isinstance(operand, bool | int | float)
        array = np.array(operand, like) if is_number else np.asarray(operand)
        content = hashlib.sha256(array.tobytes()).hexdigest()[:16]
        name = f"{array.dtype.name}_{'x'.join(map(str, array.shape))}_{content}"
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(array, name)
        return name
