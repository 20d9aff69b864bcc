"""What a training learns from: planned from indexes, read from the records when a batch needs it."""

import contextlib
import itertools
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np

from emnat_jax.artifacts.atomic import user_errors
from emnat_jax.artifacts.record_files import RecordFiles
from emnat_jax.artifacts.record_index import read_index
from emnat_jax.data.example_index import EXAMPLE, examples_of, overlaid, without
from emnat_jax.data.folds import Fold
from emnat_jax.data.pairs import Pair, group_of, pairs_of
from emnat_jax.data.stored_sets import StoredSet, ensure_indexes
from emnat_jax.runtime.processes import Processes
from emnat_jax.runtime.progress import Log

_WINDOW = 65_536  # examples that are planned at a time


class Targets(NamedTuple):
    """Which targets of a row are learned from."""

    each: int = 1  # more than one: an example is a group of so many, as `make_groups` has them
    beta: float = 0.0  # of their weights


class Examples:
    """Examples of finished sets, numbered from 0 in the order of their rows.

    In memory is none of them: a table of their places is written to `scratch`, EXAMPLE.itemsize bytes each.
    """

    def __init__(self, parts: Iterable[np.ndarray], files: RecordFiles, targets: Targets, scratch: BinaryIO):
        self._files, self._targets, self._table = files, targets, scratch
        with user_errors(tempfile.gettempdir()):
            for part in parts:
                self._table.write(part.tobytes())
            self._table.flush()
        self.count = self._table.tell() // EXAMPLE.itemsize

    @property
    def pairs_each(self) -> int:
        """Pairs of an example."""
        return self._targets.each

    def lengths(self) -> Iterator[np.ndarray]:
        """Tokens of the longest sentence of each example, in order, some at a time."""
        self._table.seek(0)
        while data := self._table.read(_WINDOW * EXAMPLE.itemsize):
            yield np.frombuffer(data, EXAMPLE)["longest"]

    def read(self, index: np.ndarray) -> list[list[Pair]]:
        """The pairs of the examples with these numbers. UserError for a damaged record."""
        places = np.frombuffer(b"".join(map(self._place, index.tolist())), EXAMPLE)
        rows = self._files.read(places["shard"], places["offset"], places["size"])
        count, beta = self._targets
        if count > 1:
            return [list(pairs_of(group_of(row, count, beta))) for row in rows]
        targets = places["target"].tolist()
        return [[list(pairs_of(row))[target]] for row, target in zip(rows, targets, strict=True)]

    def _place(self, number: int) -> bytes:
        return os.pread(self._table.fileno(), EXAMPLE.itemsize, number * EXAMPLE.itemsize)


class Learned(NamedTuple):
    """Which rows of which sets are learned from."""

    sets: Sequence[StoredSet]  # of rows with the same number, that of the first set counts
    others: Sequence[StoredSet] = ()  # joined last; nothing is left out of them
    left_out: Fold | None = None


@contextlib.contextmanager
def open_examples(
    learned: Learned, targets: Targets = Targets(), processes: Processes = Processes(), log: Log = print
) -> Iterator[Examples]:
    """The examples of verified sets (`verify_sets`) while the block runs; all processes call it together.

    `log` says how many rows of a fold are left out. UserError where the fold holds none or all.
    """
    sets = [*learned.sets, *learned.others]
    numbers = itertools.count()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        indexes = ensure_indexes(sets, folder, processes, log)

        def parts(one: StoredSet) -> Iterator[np.ndarray]:
            of_set = [(next(numbers), shard) for shard in one.manifest.shards]
            return (
                examples_of(block, number, targets.each)
                for number, shard in of_set
                for block in read_index(indexes[one.directory / shard["name"]], shard)
            )

        rows = overlaid(*map(parts, learned.sets))
        if learned.left_out is not None:
            rows = without(rows, learned.left_out, log)
        rows = overlaid(rows, *map(parts, learned.others))
        # Nameless files: they go with the process, however that ends.
        table, copies = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        files = stack.enter_context(
            contextlib.closing(RecordFiles([shard for one in sets for shard in one.shards()], copies))
        )
        yield Examples(rows, files, targets, table)
