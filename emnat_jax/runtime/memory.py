"""How many bytes a program needs on a device, before it is compiled and after; how many a device has.

The estimate is read off the program's trace (its jaxpr), so it covers every family, decoder and option. A
value takes its bytes from the operation that makes it to the last one that reads it:

- a reshaped or broadcast array is read where its origin lies, and takes no bytes of its own;
- an operation that works entry by entry writes over an operand that nobody reads any more; a matrix product
  and others that read an operand in another order do not;
- a loop has its carried values twice, those of this turn and those of the next;
- what a called function makes for itself comes on top of what is alive where it is called.

The largest sum over the program, with its arguments, is doubled (`MARGIN`) for what a compiler adds: it runs
independent parts side by side, and keeps copies in another layout or type. On the other hand it never stores
what it fuses. So the result is an upper bound, one to four times what XLA allots
(tests/runtime/test_memory.py).
"""

import functools
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jax.extend import core

from emnat_jax.runtime.mesh import Layout

MARGIN = 2
SHARE = 0.75  # of a device's memory that one program may take; the rest is for other models that are loaded
LOOPS = ("while", "scan")
ORDERED = ("dot_general", "gather", "sort", "top_k", "transpose")  # read an operand in another order
VIEWS = ("reshape", "squeeze", "expand_dims", "broadcast_in_dim", "sharding_constraint", "stop_gradient")
TPU_LANES = 128
MOST_ROWS = 256  # of a decoding or scoring batch on each device, unless data.decode_rows says more
CPU_ROWS = 32  # the same: the logits of more leave the caches of a core (docs/results/speed.md)
Size = Callable[[Any], int]  # bytes of a value of a trace


class Memory(NamedTuple):
    """The memory of one device."""

    size: int | None  # bytes; None where the backend does not say (a CPU)
    lanes: int = 1  # entries that the last axis of an array is filled up to a multiple of
    rows: int = MOST_ROWS  # more of a decoding or scoring batch gain nothing, whether they fit or not

    def holds(self, step: Callable, *arguments: Any) -> bool:
        """Whether a call surely fits beside other models; the arguments can be abstract."""
        return self.size is None or estimated_bytes(step, *arguments, lanes=self.lanes) <= SHARE * self.size


class TooLarge(Exception):
    """A program that does not fit the device's memory; the text says by how much."""


def device_memory(layout: Layout) -> Memory:
    """That of the smallest of this process's devices."""
    here = [device for device in layout.mesh.devices.flat if device.process_index == jax.process_index()]
    sizes = [(device.memory_stats() or {}).get("bytes_limit") for device in here]
    known = [size for size in sizes if size is not None]
    kind = here[0].platform
    lanes = TPU_LANES if kind == "tpu" else 1
    return Memory(min(known, default=None), lanes, most_rows(kind))


def most_rows(platform: str) -> int:
    """Rows of a decoding or scoring batch on a device, more than which gain nothing."""
    return CPU_ROWS if platform == "cpu" else MOST_ROWS


def estimated_bytes(step: Callable, *arguments: Any, lanes: int = 1) -> int:
    """What a call needs at most on one device: its arguments, which can be abstract, and all that it makes.

    `step` may be compiled; its shardings are not looked at, so give it the rows of one device.
    """
    with nn.logical_axis_rules(()):  # the rules of a mesh would ask for rows that divide by its devices
        jaxpr = jax.make_jaxpr(inspect.unwrap(step))(*arguments).jaxpr
    size = functools.partial(_bytes, lanes=lanes)
    return MARGIN * (sum(map(size, jaxpr.invars)) + _beside_arguments(jaxpr, size))


def compiled_bytes(compiled: Any) -> int:
    """What a compiled program takes on each device: arguments, outputs and the values between."""
    memory = compiled.memory_analysis()
    kinds = ("argument", "output", "temp")
    return sum(getattr(memory, f"{kind}_size_in_bytes") for kind in kinds) - memory.alias_size_in_bytes


def compile_within(lowered: Any) -> Any:
    """Compiles what `jax.jit(...).lower` made. Raises TooLarge where the compiler finds no room for it."""
    try:
        return lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        lines = str(error).splitlines()
        reason = next((line for line in lines if "exceeds" in line or "Ran out" in line), str(error))
        raise TooLarge(reason.strip()[:200]) from error


def is_out_of_memory(error: jax.errors.JaxRuntimeError) -> bool:
    """Whether a device, or the compiler for it, had no room."""
    return "RESOURCE_EXHAUSTED" in str(error)


def _beside_arguments(jaxpr: Any, size: Size) -> int:
    """The most bytes that are alive at once, those of the arguments left out."""
    origin, last_read = _lives(jaxpr)
    kept = {*jaxpr.invars, *jaxpr.constvars, *origin}  # the caller's, and those without bytes of their own
    alive = most = 0
    for index, eqn in enumerate(jaxpr.eqns):
        read = {origin.get(var, var) for var in _variables(eqn.invars)}
        made = sum(size(var) for var in eqn.outvars if var in last_read and var not in origin)
        freed = sum(size(var) for var in read - kept if last_read[var] == index)
        most = max(most, alive + _while_it_runs(eqn, made, freed, size))
        alive += made - freed
    return most


def _lives(jaxpr: Any) -> tuple[dict[Any, Any], dict[Any, int]]:
    """(view -> the value that it shows, value -> the operation that reads it last)."""
    origin: dict[Any, Any] = {}
    last_read: dict[Any, int] = {}
    for index, eqn in enumerate(jaxpr.eqns):
        read = [origin.get(var, var) for var in _variables(eqn.invars)]
        last_read |= dict.fromkeys(read, index)
        if eqn.primitive.name in VIEWS:
            origin[eqn.outvars[0]] = read[0] if read else eqn.outvars[0]
    last_read |= {origin.get(var, var): len(jaxpr.eqns) for var in _variables(jaxpr.outvars)}
    return origin, last_read


def _while_it_runs(eqn: Any, made: int, freed: int, size: Size) -> int:
    """Bytes that an operation adds to what was alive before it, until it is done."""
    inside = max((_beside_arguments(jaxpr, size) for jaxpr in _called(eqn)), default=0)
    if eqn.primitive.name in ORDERED:
        return made
    over = max(0, made - freed)
    return inside + over if eqn.primitive.name in LOOPS else max(inside, over)


def _called(eqn: Any) -> Iterator[Any]:
    """The functions that an operation calls."""
    for value in eqn.params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            if isinstance(part, core.ClosedJaxpr):
                yield part.jaxpr
            elif isinstance(part, core.Jaxpr):
                yield part


def _variables(atoms: Any) -> set[Any]:
    return {atom for atom in atoms if not isinstance(atom, core.Literal)}


def _bytes(value: Any, lanes: int) -> int:
    """Of an array; a random key counts as two words of 32 bits."""
    shape, dtype = getattr(value.aval, "shape", ()), getattr(value.aval, "dtype", None)
    padded = (*shape[:-1], -(-shape[-1] // lanes) * lanes) if shape else ()
    return math.prod(padded) * (dtype.itemsize if isinstance(dtype, np.dtype) else 8)
