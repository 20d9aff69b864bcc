"""Lines in, lines out, a window at a time: how `translate` and `score` work on texts of any length."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from emnat_jax.artifacts.resumable import open_resumable
from emnat_jax.artifacts.text_output import Part, TextOutput, plain
from emnat_jax.cli.windows import Windows
from emnat_jax.runtime.processes import Processes

WINDOW_BATCHES = 16  # sorted by length within a window: with more of them, fewer batches are not full
FEWEST_LINES = 1_024
FIRST_NUMBERS = 5
_Item = TypeVar("_Item", str, tuple[str, str])


class Counted:
    """What happened to lines, by kind of event: how many there were, and the numbers of the first few."""

    def __init__(self, notes: Mapping[str, Any] | None = None):
        self._found: dict[str, list[Any]] = {
            name: [n, list(first)] for name, (n, first) in (notes or {}).items()
        }

    def add(self, what: str, numbers: Sequence[int]) -> None:
        """Adds lines of these numbers, from 1."""
        if numbers:
            entry = self._found.setdefault(what, [0, []])
            entry[0] += len(numbers)
            entry[1] = [*entry[1], *numbers][:FIRST_NUMBERS]

    def count(self, what: str) -> int:
        """How many lines there were."""
        return self._found.get(what, (0, ()))[0]

    def lines(self, what: str) -> str:
        """The numbers of the first of them, as a text."""
        count, first = self._found[what]
        shown = ", ".join(map(str, first))
        return f"line {shown}" if count == 1 else f"lines {shown}" + (", ..." if count > len(first) else "")

    def notes(self) -> dict[str, Any]:
        """As JSON, for `__init__`."""
        return dict(self._found)


@dataclasses.dataclass(frozen=True)
class Filter(Generic[_Item]):
    """One command's work on lines."""

    items: Iterator[_Item]  # lines, or pairs of them
    pauses: bool  # whether they come from a pipe or a terminal
    work: Callable[[list[_Item], int, Counted], list[str]]  # (a window, lines before it, tally) -> output
    tell: Callable[[Counted], None]  # says at the end what happened
    made_from: Mapping[str, Any]  # what the output depends on beside the input; JSON


def window_lines(batch_rows: int) -> int:
    """Lines of a window, where a batch of all devices has `batch_rows`."""
    return max(FEWEST_LINES, WINDOW_BATCHES * batch_rows)


def run_filter(
    job: Filter[_Item],
    output_path: str | None,
    *,
    size: int,
    processes: Processes,
    note: Callable[[str], None],
) -> None:
    """Writes what `job` makes of its items; each window leaves the process as soon as it is done.

    The first process reads and writes; the others follow with `lend_devices`. A file as output goes on where
    a killed run has left it, after as many windows as were made from the same lines.
    """
    windows = Windows(job.items, size, pauses=job.pauses)
    with _opened(output_path, job.made_from, note) as output:
        done, counted = _go_on(output, windows, note)
        window: list[_Item] = []

        def advance() -> bool:
            window[:] = windows.next()
            return bool(window)

        try:
            while processes.broadcast("lines", advance):
                lines = job.work(window, done, counted)
                done += len(window)
                output.write(lines, Part(_digest(window), len(window), counted.notes()))
        finally:
            job.tell(counted)


def lend_devices(processes: Processes, work_on_nothing: Callable[[], object]) -> None:
    """The part of the processes without input and output: as many steps as the first one takes."""
    while processes.broadcast("lines", bool):
        work_on_nothing()


def _opened(
    path: str | None, made_from: Mapping[str, Any], note: Callable[[str], None]
) -> contextlib.AbstractContextManager[TextOutput]:
    if path is None or path == "-":
        return contextlib.nullcontext(TextOutput("standard output", sys.stdout.buffer, plain))
    return open_resumable(path, made_from, note)


def _go_on(output: TextOutput, windows: Windows[_Item], note: Callable[[str], None]) -> tuple[int, Counted]:
    """(lines done by an earlier run, what happened to them): all parts made from the lines that come now."""
    kept, done, counted = 0, 0, Counted()
    for part in output.earlier:
        lines = windows.take(part.lines)
        if len(lines) != part.lines or _digest(lines) != part.digest:
            windows.put_back(lines)
            break
        kept, done, counted = kept + 1, done + part.lines, Counted(part.notes)
    if output.earlier:
        note(
            f"goes on after line {done}" if kept else "starts anew; the unfinished output is of another input"
        )
    output.go_on(kept)
    return done, counted


def _digest(items: Sequence[_Item]) -> str:
    digest = hashlib.sha256()
    for item in items:
        digest.update(f"{item if isinstance(item, str) else chr(10).join(item)}\n".encode())
    return digest.hexdigest()
