"""A compiled program's text as instructions: what XLA prints of a program (`compiled.as_text()`), read back.

Only what a count of operations and bytes needs; the format is that of XLA's HLO text with layouts.
"""

import math
import re
from typing import NamedTuple

_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)$")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_SHAPE = re.compile(r"([a-z]\w*)\[([\d,]*)\](?:\{([^}]*)\})?")
_TILE = re.compile(r":T\(([\d,]+)\)")
_NAME = re.compile(r"%([\w.\-]+)")


class Shape(NamedTuple):
    """One array: type, sizes, bytes as it lies (tiles filled up), and whether that is in the large memory."""

    kind: str
    dims: tuple[int, ...]
    size: int
    on_chip: bool

    @property
    def bytes(self) -> int:
        """Bytes that reading or writing all of it moves to or from the large memory."""
        return 0 if self.on_chip else self.size


class Instruction(NamedTuple):
    """One operation; `shapes` are those of its result, several for a tuple."""

    name: str
    shapes: tuple[Shape, ...]
    opcode: str
    operands: tuple[str, ...]
    literal: str  # what stands between the parentheses
    attributes: str
    is_root: bool

    @property
    def bytes(self) -> int:
        return sum(shape.bytes for shape in self.shapes)

    def attribute(self, name: str) -> str | None:
        """The name of a computation, or the value up to the next blank or comma outside of brackets."""
        found = re.search(rf"\b{name}=%?(\{{[^}}]*\}}(?:,\{{[^}}]*\}})*|[^\s,]+)", self.attributes)
        return found and found[1]

    def called(self, name: str) -> str:
        """The name of a computation that this instruction must have."""
        found = self.attribute(name)
        assert found is not None, f"{self.name} has no {name}"
        return found


Computation = dict[str, Instruction]


class Program(NamedTuple):
    """The computations of a module by name."""

    computations: dict[str, Computation]
    entry: str


def parse(text: str) -> Program:
    """Reads the text of one module."""
    computations: dict[str, Computation] = {}
    current: Computation = {}
    entry = ""
    for line in text.splitlines():
        begin = _COMPUTATION.match(line)
        if begin:
            current = computations.setdefault(begin[2], {})
            entry = begin[2] if begin[1] else entry
        elif match := _INSTRUCTION.match(line):
            instruction = _instruction(*match.groups())
            current[instruction.name] = instruction
    return Program(computations, entry)


def _instruction(root: str | None, name: str, shapes: str, opcode: str, rest: str) -> Instruction:
    end = _closing(rest)
    inside, attributes = rest[:end], rest[end + 1 :]
    found = tuple(_shape(*match) for match in _SHAPE.findall(shapes))
    return Instruction(
        name, found, opcode, tuple(_NAME.findall(inside)), inside, attributes, root is not None
    )


def _closing(text: str) -> int:
    """Where the bracket closes that was open before the text."""
    depth = 1
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return place
    return len(text)


def _shape(kind: str, dims: str, layout: str) -> Shape:
    sizes = tuple(int(size) for size in dims.split(",") if size)
    size = math.ceil(math.prod(_padded(sizes, layout)) * _bits(kind) / 8)
    return Shape(kind, sizes, size, "S(" in layout)


def _padded(sizes: tuple[int, ...], layout: str) -> list[int]:
    """The sizes from the slowest to the fastest, the last ones filled up to whole tiles."""
    order = [int(index) for index in layout.split(":")[0].split(",") if index.strip().isdigit()]
    lying = [sizes[index] for index in reversed(order)] if len(order) == len(sizes) else list(sizes)
    tile = _TILE.search(layout)
    units = [int(unit) for unit in tile[1].split(",")] if tile else []
    for place, unit in enumerate(reversed(units[-len(lying) :] if lying else [])):
        lying[-1 - place] = math.ceil(lying[-1 - place] / unit) * unit
    return lying


def _bits(kind: str) -> int:
    if kind == "pred":
        return 8
    number = re.search(r"\d+", kind)
    return int(number[0]) if number else 0  # token and opaque take nothing
