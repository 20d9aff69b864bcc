"""What a compiled program asks of a chip: operations, memory traffic, collectives; all turns of a loop count.

XLA's own cost analysis counts the body of a loop once. Here a loop's turns are the largest whole number in
its condition: exact for scanned layers, the longest possible search for a decoder.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from emnat_jax.profiling.hlo import Computation, Instruction, Program

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_FREE = (
    "parameter",
    "constant",
    "tuple",
    "get-tuple-element",
    "bitcast",
    "partition-id",
    "replica-id",
    "after-all",
    "opt-barrier",
    "while",
    "conditional",
    "call",
)
_PART = ("dynamic-slice", "slice", "gather")  # read of their first operand only what they give


class Work(NamedTuple):
    """What one instruction does on one device, all turns of its loops together."""

    source: str  # where in the model it comes from
    flops: float  # of matrix products
    bytes: int  # to and from the large memory
    collective: str | None
    link_bytes: float  # that the device sends
    turns: int


class Costs(NamedTuple):
    """A program's work on one device, and the least time that a chip needs for it."""

    flops: float
    bytes: int
    link_bytes: float
    collectives: dict[str, int]  # kind -> times
    bounds: dict[str, float]  # seconds; `operations` is the sum over operations of their own bound
    largest: list[tuple[str, float]]  # parts of the model and their share of `operations`, largest first

    @property
    def seconds(self) -> float:
        """The tightest of the bounds."""
        return max(self.bounds.values())


def costs(works: list[Work], flops: float, hbm_bandwidth: float, link_bandwidth: float) -> Costs:
    """Sums up the work for a chip of this many operations and bytes a second ("Roofline", Williams 2009).

    A chip runs one operation after the other, so each has a bound of its own: its operations over the
    chip's peak or its bytes over the memory's bandwidth, whichever takes longer. Collectives may run beside
    them.
    """
    own = 0.0
    collectives: Counter[str] = Counter()
    parts: dict[str, float] = defaultdict(float)
    for work in works:
        seconds = max(work.flops / flops, work.bytes / hbm_bandwidth)
        own += seconds
        parts[work.source] += seconds
        if work.collective:
            collectives[work.collective] += work.turns
    work_flops, sent = (math.fsum(part) for part in zip(*((w.flops, w.link_bytes) for w in works)))
    moved = sum(work.bytes for work in works)
    bounds = {
        "compute": work_flops / flops,
        "memory": moved / hbm_bandwidth,
        "links": sent / link_bandwidth,
        "operations": own,
    }
    largest = sorted(parts.items(), key=lambda part: -part[1])
    return Costs(work_flops, moved, sent, dict(collectives), bounds, largest)


def work_of(program: Program) -> list[Work]:
    """The work of every instruction that runs, in the order of the text."""
    return [_work(program, where, what, turns) for where, what, turns in _executed(program)]


def _work(program: Program, where: Computation, what: Instruction, turns: int) -> Work:
    kind = what.opcode.removesuffix("-start")
    source = re.search(r'op_name="([^"]*)"', what.attributes)
    return Work(
        source[1] if source else what.name,
        turns * _flops(program, where, what),
        turns * _traffic(program, where, what),
        kind if kind in COLLECTIVES else None,
        turns * _sent(kind, where, what),
        turns,
    )


def _executed(program: Program) -> Iterator[tuple[Computation, Instruction, int]]:
    """(its computation, the instruction, how often it runs), of all that are not part of a fusion."""

    def visit(name: str, turns: int) -> Iterator[tuple[Computation, Instruction, int]]:
        computation = program.computations[name]
        for what in computation.values():
            yield computation, what, turns
            if what.opcode == "while":
                yield from visit(what.called("body"), turns * loop_turns(program, what))
            elif what.opcode in ("call", "async-start", "conditional"):
                for called in _called(what):
                    yield from visit(called, turns)

    yield from visit(program.entry, 1)


def _called(what: Instruction) -> list[str]:
    found = [what.attribute(name) for name in ("to_apply", "calls", "true_computation", "false_computation")]
    branches = what.attribute("branch_computations") or ""
    return [name for name in found if name] + re.findall(r"[\w.\-]+", branches)


def loop_turns(program: Program, loop: Instruction) -> int:
    """How often a loop runs at most: as the compiler knows it, or the largest number in its condition."""
    known = re.search(r'known_trip_count":\{"n":"(\d+)"', loop.attributes)
    if known:
        return int(known[1])

    def numbers(name: str) -> Iterator[int]:
        for what in program.computations[name].values():
            if what.opcode == "constant" and what.shapes[0].kind == "s32" and what.literal.isdigit():
                yield int(what.literal)
            if what.opcode == "fusion":
                yield from numbers(what.called("calls"))

    return max(numbers(loop.called("condition")), default=1)


def _flops(program: Program, where: Computation, what: Instruction) -> float:
    if what.opcode == "fusion":
        inner = program.computations[what.called("calls")]
        return math.fsum(_flops(program, inner, part) for part in inner.values())
    if what.opcode == "dot":
        return 2.0 * math.prod(what.shapes[0].dims) * _contracted(where, what)
    return _convolution_flops(where, what) if what.opcode == "convolution" else 0.0


def _contracted(where: Computation, what: Instruction) -> int:
    left = where[what.operands[0]].shapes[0].dims
    axes = _found(r"lhs_contracting_dims=\{([\d,]*)\}", what.attributes)[1]
    return math.prod(left[int(axis)] for axis in axes.split(",") if axis)


def _convolution_flops(where: Computation, what: Instruction) -> float:
    """Every matrix product on a TPU is a convolution; some of its window is on padding and costs nothing."""
    labels = _found(r"dim_labels=(\w+)_(\w+)->(\w+)", what.attributes)
    shapes = [where[name].shapes[0].dims for name in what.operands[:2]] + [what.shapes[0].dims]
    left, right, out = (dict(zip(names, dims)) for names, dims in zip(labels.groups(), shapes))
    window = _window(what.attributes, [axis for axis in labels[2] if axis.isdigit()])
    places = math.prod(_valid(left[axis], out[axis], window[axis]) for axis in window)
    return 2.0 * out["b"] * out["f"] * right["i"] * places


def _found(pattern: str, attributes: str) -> re.Match[str]:
    """Where a pattern matches that XLA writes for every instruction of the kind."""
    found = re.search(pattern, attributes)
    assert found is not None, f"no {pattern} in {attributes}"
    return found


def _window(attributes: str, axes: list[str]) -> dict[str, dict[str, tuple[int, ...]]]:
    """Spatial axis -> the settings of the window there."""
    text = re.search(r"window=\{([^}]*)\}", attributes)
    fields = dict(field.split("=") for field in text[1].split()) if text else {}
    values = {
        name: [tuple(map(int, part.split("_"))) for part in value.split("x")]
        for name, value in fields.items()
    }
    return {axis: {name: value[int(axis)] for name, value in values.items()} for axis in axes}


def _valid(size: int, out: int, window: dict[str, tuple[int, ...]]) -> int:
    """Pairs of window and output positions that meet a real element, not padding."""
    get = lambda name, default: window.get(name, (default,))[0]  # noqa: E731
    stride, low = get("stride", 1), get("pad", 0)
    spread, dilate = get("lhs_dilate", 1), get("rhs_dilate", 1)
    count = 0
    for place in range(get("size", 1)):
        for index in range(out):
            at = index * stride + place * dilate - low
            count += 0 <= at < (size - 1) * spread + 1 and at % spread == 0
    return count


def _traffic(program: Program, where: Computation, what: Instruction) -> int:
    """Bytes read and written in the large memory by one turn of an instruction."""
    if what.opcode in _FREE or what.opcode.endswith("-done") or what.opcode == "async-start":
        return 0
    if what.opcode.endswith("-start"):
        return _copied(what)
    reads = sum(_read(program, where, what, place) for place in range(len(what.operands)))
    return reads + _written(program, where, what)


def _copied(what: Instruction) -> int:
    """An asynchronous copy: its result names both ends, and each end in main memory counts."""
    ends = [shape for shape in what.shapes if shape.dims]
    return min((end.size for end in ends), default=0) * sum(not end.on_chip for end in ends)


def _read(program: Program, where: Computation, what: Instruction, place: int) -> int:
    """Bytes that `what` reads of its operand number `place`."""
    full = where[what.operands[place]].bytes
    if place == 0 and what.opcode in _PART:
        return min(full, what.bytes)
    if place == 0 and what.opcode in ("dynamic-update-slice", "scatter"):
        return 0  # changed where it lies
    if what.opcode != "fusion":
        return full
    inner = program.computations[what.called("calls")]
    given = next(p for p in inner.values() if p.opcode == "parameter" and int(p.literal) == place)
    return min(full, _read_inside(program, inner, given.name))


def _read_inside(program: Program, inner: Computation, name: str) -> int:
    """Bytes that the instructions of a fusion read of one of its values."""
    total = 0
    for user in inner.values():
        for place, operand in enumerate(user.operands):
            if operand == name:
                renamed = user.opcode == "bitcast"
                total += (
                    _read_inside(program, inner, user.name) if renamed else _read(program, inner, user, place)
                )
    return total


def _written(program: Program, where: Computation, what: Instruction) -> int:
    """Bytes that `what` writes: all of its result, or the part that it changes in place."""
    if what.opcode in ("dynamic-update-slice", "scatter"):
        return where[what.operands[1 if what.opcode == "dynamic-update-slice" else 2]].bytes
    if what.opcode in ("bitcast", "tuple"):
        return sum(_written(program, where, where[name]) for name in what.operands)
    if what.opcode == "fusion":
        inner = program.computations[what.called("calls")]
        root = next(part for part in inner.values() if part.is_root)
        return min(what.bytes, _written(program, inner, root))
    return what.bytes


def _sent(kind: str, where: Computation, what: Instruction) -> float:
    """Bytes that a device sends in a collective by rings (Chan et al. 2007, "Collective communication")."""
    if kind not in COLLECTIVES:
        return 0.0
    given = sum(shape.size for name in what.operands for shape in where[name].shapes)
    count = _group(what.attributes)
    share = (count - 1) / count
    return {
        "all-reduce": 2 * share * given,
        "all-gather": (count - 1.0) * given,
        "reduce-scatter": share * given,
        "all-to-all": share * given,
        "collective-permute": 1.0 * given,
    }[kind]


def _group(attributes: str) -> int:
    """Devices that take part in one collective together; two where the text does not say."""
    iota = re.search(r"replica_groups=\[(\d+),(\d+)\]", attributes)
    if iota:
        return int(iota[2])
    listed = re.search(r"replica_groups=\{\{([\d,]+)\}", attributes)
    return len(listed[1].split(",")) if listed else 2
