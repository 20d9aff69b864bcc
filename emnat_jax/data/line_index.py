"""Where the lines of a plain text begin, counted by several processes, and lines read from any place on."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from emnat_jax.artifacts.folders import file_size
from emnat_jax.data.text import MAX_LINE_BYTES, decode_line

BLOCK_BYTES = 1 << 20


class LineIndex(NamedTuple):
    """How many lines of a file have ended before each of its blocks."""

    ended: np.ndarray  # i64[blocks + 1]
    lines: int

    def offset(self, path: epath.Path, line: int) -> int:
        """Where line `line` (from 0, and less than `lines`) begins, in bytes."""
        if line == 0:
            return 0
        block = int(np.searchsorted(self.ended, line, "left")) - 1
        with path.open("rb") as file:
            file.seek(block * BLOCK_BYTES)
            data = np.frombuffer(file.read(BLOCK_BYTES), np.uint8)
        ends = np.flatnonzero(data == ord("\n"))
        return block * BLOCK_BYTES + int(ends[line - self.ended[block] - 1]) + 1


def count_blocks(path: epath.Path, index: int, count: int) -> list[int]:
    """The line feeds in each block of the part that process `index` of `count` has of a file."""
    blocks = -(-file_size(path) // BLOCK_BYTES)
    first, last = (blocks * part // count for part in (index, index + 1))
    with path.open("rb") as file:
        file.seek(first * BLOCK_BYTES)
        return [file.read(BLOCK_BYTES).count(b"\n") for _ in range(first, last)]


def index_of(path: epath.Path, counts: Sequence[int]) -> LineIndex:
    """The index of a file from the counts of all of its blocks."""
    ended = np.concatenate([[0], np.cumsum(np.array(counts, np.int64))]).astype(np.int64)
    return LineIndex(ended, int(ended[-1]) + _is_cut_short(path))


def _is_cut_short(path: epath.Path) -> bool:
    """Whether no line feed ends the last line."""
    size = file_size(path)
    with path.open("rb") as file:
        file.seek(max(size - 1, 0))
        return file.read(1) not in (b"", b"\n")


class LineReader:
    """The lines of an open text, forwards, some of them jumped over.

    With an index the jump is one; without one (a packed text) every byte is read, and nothing decoded.
    """

    def __init__(self, path: epath.Path, file: Any, index: LineIndex | None):
        self._path, self._file, self._index = path, file, index
        self._name = str(path)
        self.line = 0  # number of the next one

    def skip_to(self, line: int) -> None:
        """Goes on to a line, or to the end of a text that has no such line."""
        if self._index is not None:
            self._jump(min(line, self._index.lines))
            return
        while self.line < line and self._file.readline(MAX_LINE_BYTES):
            self.line += 1

    def _jump(self, line: int) -> None:
        assert self._index is not None
        if line == self.line:
            return
        self.line = line
        if line < self._index.lines:
            self._file.seek(self._index.offset(self._path, line))
        else:
            self._file.seek(0, 2)

    def next(self) -> str | None:
        """The text of the next line; None at the end. UserError where it is not UTF-8."""
        data = self._file.readline(MAX_LINE_BYTES)
        if not data:
            return None
        self.line += 1
        return decode_line(data, self._name, self.line)
