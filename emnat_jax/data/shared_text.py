"""A text in files of which several processes read the lines of their own ranges.

A line lies elsewhere in the source than its translation in the target. Of plain files the processes first
count the line feeds together, block by block, and then jump to where their lines begin. A packed file can be
unpacked only from its beginning: each process unpacks all of it, and decodes its own lines alone.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from etils import epath

from emnat_jax.artifacts.folders import file_size
from emnat_jax.config import DataConfig
from emnat_jax.data.compressed import is_plain, open_bytes
from emnat_jax.data.corpora import MONO, Ranges, find_files
from emnat_jax.data.line_index import LineIndex, LineReader, count_blocks, index_of
from emnat_jax.data.readers import Readers
from emnat_jax.data.text import TextPair
from emnat_jax.data.text_files import pairs_of_files, two_columns
from emnat_jax.errors import require


class Group(NamedTuple):
    """Files that are read side by side: those of both sides, or one that has both or the source alone."""

    paths: tuple[epath.Path, ...]
    pair: Callable[[Sequence[str], int], tuple[str, str]]  # (a line of each file, its number) -> both sides


def open_ranges(config: DataConfig, split: str, readers: Readers) -> Ranges | None:
    """A function that reads the pairs of ascending ranges of lines; None where this process has no files.

    All processes call it together. Mistakes in the text are left to whoever reads all of it; UserError where
    the files of one process have other sizes than those of the first.
    """
    groups = _groups(config, split) if readers.index is not None else []
    paths = [path for group in groups for path in group.paths]
    sizes = readers.gather(f"prepare: files of {split}", lambda: [file_size(path) for path in paths])
    require(
        all(found == sizes[0] for found in sizes),
        f"the files of the {split} split have {sizes[0]} bytes in the first process, and not the same in "
        "every other one; copy them again, or remove them where they are not needed.",
    )
    counts = readers.gather(f"prepare: lines of {split}", lambda: _count(paths, readers))
    if readers.index is None:
        return None
    indexes = [
        None if parts[0] is None else index_of(path, [count for part in parts for count in part])
        for path, *parts in zip(paths, *counts, strict=True)
    ]
    return lambda ranges: _read(groups, indexes, ranges)


def _groups(config: DataConfig, split: str) -> list[Group]:
    if split == MONO:
        return [Group((path,), lambda lines, _: (lines[0], "")) for path in find_files(config, "mono_source")]
    if getattr(config, f"{split}_tsv") is not None:
        return [_columns(path) for path in find_files(config, f"{split}_tsv")]
    return [Group(paths, lambda lines, _: (lines[0], lines[1])) for paths in pairs_of_files(config, split)]


def _columns(path: epath.Path) -> Group:
    return Group((path,), lambda lines, number: two_columns(lines[0], path, number))


def _count(paths: Sequence[epath.Path], readers: Readers) -> list[list[int] | None]:
    """The line feeds in this process's blocks of each file; None of a packed one."""
    share = (readers.index or 0, readers.count)
    return [count_blocks(path, *share) if is_plain(path) else None for path in paths]


class _Wanted:
    """Ascending ranges of lines, and which of them comes next; None after the last."""

    def __init__(self, ranges: Iterable[range]):
        self._rest = iter(ranges)
        self.next = next(self._rest, None)

    def go_on(self) -> None:
        """The range has been read to its end."""
        self.next = next(self._rest, None)


def _read(
    groups: Sequence[Group], indexes: Iterable[LineIndex | None], ranges: Iterable[range]
) -> Iterator[TextPair]:
    """The pairs of the ranges, one group of files after another."""
    begin, of_files, wanted = 0, iter(indexes), _Wanted(ranges)
    for group in groups:
        if wanted.next is None:
            return
        with _opened(group, [next(of_files) for _ in group.paths]) as files:
            yield from _read_group(group, files, begin, wanted)
            begin += files[0].line


def _read_group(group: Group, files: Sequence[LineReader], begin: int, wanted: _Wanted) -> Iterator[TextPair]:
    """The pairs of the ranges in a group, whose first line is `begin`; to its end, where ranges are left."""
    while wanted.next is not None:
        yield from _pairs(group, files, begin, wanted.next)
        if begin + files[0].line < wanted.next.stop:  # the next group goes on with it
            return
        wanted.go_on()


@contextlib.contextmanager
def _opened(group: Group, indexes: Sequence[LineIndex | None]) -> Iterator[list[LineReader]]:
    with contextlib.ExitStack() as stack:
        found = []
        for path, index in zip(group.paths, indexes, strict=True):
            file = stack.enter_context(open_bytes(path) if index is None else path.open("rb"))
            found.append(LineReader(path, file, index))
        yield found


def _pairs(group: Group, files: Sequence[LineReader], begin: int, wanted: range) -> Iterator[TextPair]:
    """Those lines of a range of the whole text that lie in a group, whose first line is `begin`."""
    for file in files:
        file.skip_to(max(wanted.start - begin, file.line))
    for line in range(begin + files[0].line, wanted.stop):
        texts = [file.next() for file in files]
        found = [text for text in texts if text is not None]
        if len(found) < len(files):  # the end; where that of one side alone, the one who reads all says so
            return
        yield TextPair(line, *group.pair(found, line - begin))
