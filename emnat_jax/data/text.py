"""Reading text files: lines, sentence pairs, lines with several references."""

import dataclasses
import itertools
import os
import unicodedata
from collections.abc import Iterator

from etils import epath

from emnat_jax.data.compressed import Source, name_of, open_bytes
from emnat_jax.errors import UserError, require

_BOM = b"\xef\xbb\xbf"
MAX_LINE_BYTES = 1 << 24  # a file without line ends must not fill the memory
# Controls, format characters (zero-width space, soft hyphen, byte-order mark, marks of direction), spaces.
_INVISIBLE_CATEGORIES = {"Cc", "Cf", "Zs", "Zl", "Zp"}
# Drawn as nothing, though they count as letters, marks or symbols: fillers of Hangul and Khmer, the grapheme
# joiner, variation selectors, the blank of Braille.
_INVISIBLE = {"\u034f", "\u115f", "\u1160", "\u17b4", "\u17b5", "\u2800", "\u3164", "\uffa0"}
_INVISIBLE |= {chr(code) for code in range(0xFE00, 0xFE10)}


@dataclasses.dataclass
class TextPair:
    """A sentence pair as its corpus has it: raw lines without their line ends."""

    line: int  # 0-based
    source: str
    target: str


def read_pairs(source: epath.PathLike, target: epath.PathLike) -> Iterator[TextPair]:
    """The lines of two files side by side; UserError where one has more lines, or there is none."""
    sides = (_lines(source), _lines(target))
    line = -1
    for line, (a, b) in enumerate(itertools.zip_longest(*sides)):
        if a is None or b is None:
            longer = line + 1 + sum(1 for side in sides for _ in side)
            counts = (line, longer) if a is None else (longer, line)
            raise UserError(
                f"{source} has {counts[0]} lines and {target} has {counts[1]}; "
                "line N of one must translate line N of the other."
            )
        yield TextPair(line, a, b)
    if line < 0:
        raise UserError(f"{source} and {target} are empty; give files with one sentence a line.")


def read_text_lines(source: Source) -> Iterator[str]:
    """Lines of a file or of an open binary stream, packed or not, each as soon as it is there.

    A line ends at LF; a CR before it is removed, and a byte-order mark at the beginning. U+2028 and the like
    do not end a line: tools that count lines (wc, sacrebleu) do not treat them as ends. UserError for a
    missing file, for what cannot be unpacked, and for what is not UTF-8 text.
    """
    if isinstance(source, str | os.PathLike):
        path = epath.Path(source)
        if not path.exists() or path.is_dir():
            raise UserError(f"{path}: {'a folder; name a file' if path.is_dir() else 'no such file'}.")
    return _lines(source)


def _lines(source: Source) -> Iterator[str]:
    where = name_of(source)
    with open_bytes(source) as file:
        for number, data in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b""), 1):
            yield decode_line(data, where, number)


def is_blank(line: str) -> bool:
    """Whether nothing of it is visible: it has no characters, or spaces, controls and the like alone."""
    return all(
        unicodedata.category(character) in _INVISIBLE_CATEGORIES or character in _INVISIBLE
        for character in line
    )


def decode_line(data: bytes, path: str, number: int) -> str:
    """The text of line `number` (from 1) of a file, as `read_text_lines` gives it; UserError as there."""
    data = data.removeprefix(_BOM) if number == 1 else data
    if len(data) == MAX_LINE_BYTES:
        raise UserError(f"{path}: line {number} is longer than 16 MiB; give one sentence a line.")
    try:
        return data.removesuffix(b"\n").removesuffix(b"\r").decode()
    except UnicodeDecodeError as error:
        found = f"byte {error.start + 1} is 0x{error.object[error.start]:02x}"
        raise UserError(
            f"{path}: line {number} is not UTF-8 ({found}); convert the file, e.g. with `iconv -t UTF-8`."
        ) from error


def read_multi_references(path: Source) -> tuple[list[str], list[list[str | None]]]:
    """(sources, reference sets) of a file or stream with lines SOURCE<TAB>REFERENCE[<TAB>REFERENCE ...].

    Set k holds the k-th reference of every line, None where a line has fewer; the first set is whole. The
    file may be gzipped. UserError, with the line, where a part is missing or empty.
    """
    where = name_of(path)
    lines = [line.split("\t") for line in read_text_lines(path)]
    require(bool(lines), f"{where} is empty; give lines of a source, TAB and its references.")
    for number, line in enumerate(lines, 1):
        if len(line) < 2 or any(map(is_blank, line)):
            raise UserError(
                f"{where}:{number}: give a source, TAB and at least one reference, none of them empty."
            )
    most = max(map(len, lines))
    sets = [[line[place] if place < len(line) else None for line in lines] for place in range(1, most)]
    return [line[0] for line in lines], sets
