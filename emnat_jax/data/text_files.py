"""Sentence pairs of text files: a file for each side, or files of both sides with a TAB between them."""

import codecs
import itertools
import re
from collections.abc import Callable, Iterator, Sequence

from etils import epath

from emnat_jax.config import DataConfig
from emnat_jax.data.corpora import find_files
from emnat_jax.data.text import TextPair, read_pairs, read_text_lines
from emnat_jax.errors import UserError, require

_BLOCK_BYTES = 1 << 20
_BINARY = re.compile(b"[\x00-\x08\x0e-\x1f]")


def open_split(config: DataConfig, split: str, seed: int) -> Callable[[], Iterator[TextPair]]:
    """A function that reads the pairs of a split from its files, one file after another.

    UserError where a file is missing, or where the sides have different numbers of files.
    """
    if getattr(config, f"{split}_tsv") is not None:
        files = find_files(config, f"{split}_tsv")
        return lambda: _numbered(read_tsv(path) for path in files)
    sides = pairs_of_files(config, split)
    return lambda: _numbered(read_pairs(source, target) for source, target in sides)


def count_lines(config: DataConfig, split: str) -> list[tuple[str, int]]:
    """The files of a split (those of its source side) and their lines, which are not decoded.

    UserError where the two files of a pair have different numbers.
    """
    if getattr(config, f"{split}_tsv") is not None:
        return [(str(path), count_file(path)) for path in find_files(config, f"{split}_tsv")]
    return [(str(source), _count_both(source, target)) for source, target in pairs_of_files(config, split)]


def read_tsv(path: epath.PathLike) -> Iterator[TextPair]:
    """The pairs of a file with lines of source, TAB, target; UserError, with the line, for any other."""
    number = -1
    for number, line in enumerate(read_text_lines(path)):
        yield TextPair(number, *two_columns(line, path, number))
    require(number >= 0, f"{path} is empty; give lines of source, TAB, target.")


def two_columns(line: str, path: epath.PathLike, number: int) -> tuple[str, str]:
    """Source and target of line `number` (from 0) of such a file."""
    parts = line.split("\t")
    if len(parts) != 2:
        advice = "keep two of them, e.g. with `cut -f1,2`" if len(parts) > 2 else "mend the line"
        raise UserError(
            f"{path}:{number + 1}: columns: {len(parts)}; a line is source, TAB, target; {advice}."
        )
    return parts[0], parts[1]


def pairs_of_files(config: DataConfig, split: str) -> Sequence[tuple[epath.Path, epath.Path]]:
    """The files of the two sides, each with its translation; UserError as `open_split`."""
    sources, targets = (find_files(config, f"{split}_{side}") for side in ("source", "target"))
    require(
        len(sources) == len(targets),
        f"data.{split}_source names {len(sources)} files and data.{split}_target {len(targets)}; file N of "
        "one must be the translation of file N of the other.",
    )
    return list(zip(sources, targets, strict=True))


def _numbered(files: Iterator[Iterator[TextPair]]) -> Iterator[TextPair]:
    """The pairs of all files, numbered through."""
    for number, pair in enumerate(itertools.chain.from_iterable(files)):
        pair.line = number
        yield pair


def _count_both(source: epath.Path, target: epath.Path) -> int:
    counts = count_file(source), count_file(target)
    require(
        counts[0] == counts[1],
        f"{source} has {counts[0]} lines and {target} has {counts[1]}; "
        "line N of one must translate line N of the other.",
    )
    return counts[0]


def count_file(path: epath.PathLike) -> int:
    """Lines of a file, as the reader has them; what does not begin like text is left to the reader."""
    with epath.Path(path).open("rb") as file:
        lines, last, block = 0, b"\n", file.read(_BLOCK_BYTES)
        if _is_text(block):
            while block:
                lines, last, block = lines + block.count(b"\n"), block[-1:], file.read(_BLOCK_BYTES)
            return lines + (last != b"\n")
    return sum(1 for _ in read_text_lines(path))


def _is_text(block: bytes) -> bool:
    """Whether bytes may be the beginning of a plain text; no packed file begins so."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(block)
    except UnicodeDecodeError:
        return False
    return _BINARY.search(block) is None
