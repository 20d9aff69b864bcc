"""Lines of text written a part at a time: into a device or a pipe as they come, to a file all or nothing."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

from emnat_jax.artifacts.atomic import is_local, user_errors
from emnat_jax.errors import UserError, require

Pack = Callable[[bytes], bytes]
_PACKERS: dict[str, Pack] = {  # each result is whole: files of these kinds may follow one another in one
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}
_NOT_WRITTEN = (".zst", ".zip", ".7z", ".lz4", ".lz", ".lzma", ".Z", ".rar", ".tgz", ".tar")
_MOST_LINKS = 40


class Part(NamedTuple):
    """What one `write` was made from."""

    digest: str  # of the input
    lines: int  # of the input
    notes: Mapping[str, Any]  # what is to be known of all parts up to here; JSON


class TextOutput:
    """An open output of text. `earlier` are the parts that an interrupted run has left; most have none."""

    earlier: Sequence[Part] = ()

    def __init__(self, name: str, file: io.BufferedIOBase | BinaryIO, pack: Pack):
        self._name, self._file, self._pack = name, file, pack
        self._is_empty = True

    def go_on(self, count: int) -> None:
        """Keeps the first `count` of the earlier parts and forgets the others."""

    def write(self, lines: Sequence[str], part: Part) -> None:
        """Writes the lines, and has them leave this process."""
        self._put("".join(f"{line}\n" for line in lines).encode())

    def finish(self) -> None:
        """Ends the text: a packed one is a valid file also where it has no line."""
        if self._is_empty:
            self._put(b"", always=True)

    def _put(self, data: bytes, always: bool = False) -> None:
        if data or always:
            with user_errors(self._name):
                self._file.write(self._pack(data))
                self._file.flush()
            self._is_empty = False


def plain(data: bytes) -> bytes:
    """The bytes as they are."""
    return data


def packer(path: str) -> Pack:
    """How the ending of a file's name asks to compress it; UserError for an ending that is not written."""
    ending = pathlib.PurePath(path).suffix
    require(
        ending not in _NOT_WRITTEN,
        f"{path}: no {ending} is written here; name a file that ends in .gz, .bz2 or .xz, or in none of "
        "these, and pack it afterwards.",
    )
    return _PACKERS.get(ending, plain)


def follow(path: str) -> tuple[str, bool]:
    """(the file itself behind symbolic links, whether it is written into as it is: a device, a pipe).

    What lies under /proc, where /dev/stdout leads, is an open file of a process, and not its name.
    """
    if not is_local(path):
        return path, False
    target = os.path.abspath(path)
    for _ in range(_MOST_LINKS):
        folder = os.path.realpath(os.path.dirname(target))
        target = os.path.join(folder, os.path.basename(target))
        if folder.startswith("/proc/") or folder == "/dev/fd":
            return target, True
        if not os.path.islink(target):
            require(not os.path.isdir(target), f"{path} is a folder; name a file.")
            return target, os.path.exists(target) and not os.path.isfile(target)
        target = os.path.join(folder, os.readlink(target))
    raise UserError(f"{path}: symbolic links that lead nowhere; name another file.")


@contextlib.contextmanager
def open_special(path: str) -> Iterator[BinaryIO]:
    """A device or a pipe, opened for writing as it is. A pipe waits here for its reader."""
    with user_errors(path), open(os.open(path, os.O_WRONLY | os.O_APPEND), "wb") as file:
        yield file
