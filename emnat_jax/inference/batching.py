"""Run a compiled step over batches; each process has its own batches, all take the same number of steps."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from emnat_jax.config import DataConfig
from emnat_jax.runtime.mesh import Layout, from_global, to_global, use_layout
from emnat_jax.runtime.processes import Processes
from emnat_jax.types import EOS, PAD, Batch

Shape = tuple[int, int, int]  # rows, source width, target width


class Machine(NamedTuple):
    """What steps run on: the devices, the processes that take them together, and the sizes of batches."""

    data: DataConfig  # its `buckets` and `decode_rows`
    layout: Layout
    processes: Processes


def each_batch(
    step: Callable[[Batch], Any], batches: Iterable[Batch], machine: Machine
) -> Iterator[tuple[Batch, Any]]:
    """(batch, what `step` gives for its rows, on the host) for each of this process's batches.

    All processes call it together, with as many batches as they have; where one has fewer, rows of weight 0
    fill its place, so that all take the same steps. The devices work on one batch while the host
    handles the previous one.
    """
    pending = None
    for batch in _in_step(batches, machine.processes):
        with use_layout(machine.layout):
            running = batch, step(to_global(machine.layout, batch))
        if pending is not None:
            yield _on_host(*pending)
        pending = running
    if pending is not None:
        yield _on_host(*pending)


def _on_host(batch: Batch, result: Any) -> tuple[Batch, Any]:
    return batch, jax.tree.map(from_global, result)


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
