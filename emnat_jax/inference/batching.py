"""Run a compiled step over batches; each process has its own batches, all take the same number of steps."""

import contextlib
import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from emnat_jax.config import DataConfig
from emnat_jax.data.batches import require_known
from emnat_jax.errors import UserError
from emnat_jax.runtime.memory import Memory, device_memory, is_out_of_memory
from emnat_jax.runtime.mesh import Layout, from_global, own_rows, to_global, use_layout
from emnat_jax.runtime.processes import Processes
from emnat_jax.types import EOS, PAD, Batch

Shape = tuple[int, int, int]  # rows, source width, target width


class RowSizes(NamedTuple):
    """What a row of a batch holds, and how many rows there are at most."""

    target: int | None = None  # width of a target; None: that of the source
    targets: int = 1  # side by side
    most: int | None = None  # rows of one target; None: as many as the memory names


class Machine(NamedTuple):
    """What steps run on: the devices, the processes that take them together, and the sizes of batches."""

    data: DataConfig  # its `buckets` and `decode_rows`
    layout: Layout
    processes: Processes
    vocabulary: int | None = None  # its size: rows with other tokens are refused; None: they are not

    def rows(self, step: Callable, params: Any, sizes: RowSizes = RowSizes()) -> Callable[[int], int]:
        """Source width -> rows of a batch of that width that this process provides; as `each`."""
        rows = self.each(step, params, sizes)
        return lambda width: own_rows(self.layout, rows(width))

    def each(self, step: Callable, params: Any, sizes: RowSizes = RowSizes()) -> Callable[[int], int]:
        """Source width -> rows of a batch of that width on each device; all processes call it together.

        They are `device_rows`. Rows with several targets have as many targets in all as else.
        """
        given, (target, targets, most) = self.data.decode_rows, sizes
        memory = Memory(None) if given else self._memory()
        assert most is None or targets == 1, "lists have a limit of their own"
        most = most if targets == 1 else most_lists(given, memory, targets)

        def rows(width: int) -> int:
            widths = width, targets * (target or width)
            return device_rows(given, step, params, widths, memory, most=most)

        return rows

    def _memory(self) -> Memory:
        """The least that a device of any process has, so that all take the same rows."""
        own = device_memory(self.layout)
        sizes = self.processes.gather("memory", own.size)
        return own._replace(size=None if None in sizes else min(sizes))


def most_lists(given: int | None, memory: Memory, targets: int) -> int:
    """Rows with several `targets` side by side that have as many targets in all as rows of one have."""
    return max(1, (given or memory.rows) // targets)


def device_rows(
    given: int | None,
    step: Callable,
    params: Any,
    widths: tuple[int, int],
    memory: Memory,
    *,
    most: int | None = None,
) -> int:
    """Rows on each device for batches of these widths of source and target: `given`, but at most `most`.

    Where nothing is given they are the most with which `step(params, batch)` surely fits: the rows that the
    memory names (or `most`), or a half, a quarter, ... of it. 1 where no number surely fits.
    """
    if given is not None:
        return given if most is None else min(given, most)
    leaves, tree = jax.tree.flatten(params)
    shapes = tuple((leaf.shape, np.dtype(leaf.dtype)) for leaf in leaves)
    rows = most or memory.rows
    while rows > 1 and not _fits(step, tree, shapes, (rows, *widths), memory):
        rows //= 2
    return rows


@functools.lru_cache(maxsize=1024)  # a trace takes about a second, and a model may get one line at a time
def _fits(step: Callable, tree: Any, shapes: tuple, batch: Shape, memory: Memory) -> bool:
    params = jax.tree.unflatten(tree, [jax.ShapeDtypeStruct(*shape) for shape in shapes])
    return memory.holds(step, params, abstract_batch(*batch))


def abstract_batch(rows: int, source: int, target: int) -> Batch:
    """The shapes and types of a batch."""

    def array(dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((rows, *shape), dtype)

    return Batch(array(np.int32, source), array(np.int32, target), array(np.float32), array(np.int32))


def each_batch(
    step: Callable[[Batch], Any], batches: Iterable[Batch], machine: Machine, *, targets: int = 1
) -> Iterator[tuple[Batch, Any]]:
    """(batch, what `step` gives for its rows, on the host) for each of this process's batches.

    All processes call it together, with as many batches as they have; where one has fewer, rows of weight 0
    fill its place, so that all take the same steps. The devices work on one batch while the host
    handles the previous one. UserError where the memory of the devices does not hold a batch, and for tokens
    that the vocabulary does not have. A row may have several `targets` side by side.
    """
    pending = None
    for batch in _in_step(batches, machine.processes):
        require_known(batch, machine.vocabulary)
        with use_layout(machine.layout), _naming_rows(batch, machine, targets):
            running = batch, step(to_global(machine.layout, batch))
        if pending is not None:
            yield _on_host(*pending, machine, targets)
        pending = running
    if pending is not None:
        yield _on_host(*pending, machine, targets)


def _on_host(batch: Batch, result: Any, machine: Machine, targets: int) -> tuple[Batch, Any]:
    with _naming_rows(batch, machine, targets):  # the devices run behind: what fails in them is raised here
        return batch, jax.tree.map(from_global, result)


@contextlib.contextmanager
def _naming_rows(batch: Batch, machine: Machine, targets: int) -> Iterator[None]:
    """UserError with what to do where the devices' memory runs out on a batch."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        rows = len(batch.weight) // own_rows(machine.layout, 1)
        size = f"{rows} rows of {batch.source.shape[1]} tokens"
        size += f" and {targets} targets" if targets > 1 else ""
        raise UserError(
            f"the device's memory does not hold a batch of {size} (data.decode_rows="
            f"{machine.data.decode_rows}): {fewer_rows(rows, targets)}. No result depends on it, and a run "
            "goes on with it."
        ) from error


def fewer_rows(rows: int, targets: int = 1) -> str:
    """What to do where so many rows a device, each with so many targets, do not fit, for a message."""
    if rows > 1:
        return f"lower it with --config.data.decode_rows={rows // 2 * targets}"
    return (
        "spread the weights with --config.mesh.model=2, or use fewer candidates or devices with more memory"
    )


def _in_step(batches: Iterable[Batch], processes: Processes) -> Iterator[Batch]:
    """The batches, in an order and number of shapes that all processes have agreed on."""
    if processes.count == 1:
        yield from batches
        return
    mine: dict[Shape, list[Batch]] = defaultdict(list)
    for batch in batches:
        mine[(*batch.source.shape, batch.target.shape[1])].append(batch)
    counts: dict[Shape, int] = {}
    for process in processes.gather("batches", [[shape, len(found)] for shape, found in mine.items()]):
        for shape, count in process:
            counts[tuple(shape)] = max(count, counts.get(tuple(shape), 0))
    for shape in sorted(counts):
        found = mine[shape]
        yield from found
        yield from [_fillers(*shape)] * (counts[shape] - len(found))


def _fillers(rows: int, source: int, target: int) -> Batch:
    """Empty sentences of weight 0."""

    def empty(width: int) -> np.ndarray:
        return np.where(np.arange(width) == 0, EOS, PAD)[None].repeat(rows, 0).astype(np.int32)

    return Batch(empty(source), empty(target), np.zeros(rows, np.float32), np.full(rows, -1, np.int32))
