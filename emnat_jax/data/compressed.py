"""The bytes of a text, unpacked where they are packed; read once, from front to back: a pipe will do."""

import bz2
import contextlib
import gzip
import importlib
import io
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeAlias, runtime_checkable

from etils import epath

from emnat_jax.errors import UserError

_BZIP2_BLOCKS = (bytes.fromhex("314159265359"), bytes.fromhex("177245385090"))  # of data, of an empty file
_MAGIC = {  # first bytes -> what they are the beginning of
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\x00": "xz",
    b"\x5d\x00\x00": "lzma",
    **{b"BZh%d" % level + block: "bzip2" for level in range(1, 10) for block in _BZIP2_BLOCKS},
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"\x04\x22\x4d\x18": "lz4",
    b"LZIP\x01": "lzip",
    b"\x1f\x9d": "compress",
    b"Rar!\x1a\x07": "rar",
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_UNPACK = {  # what Python does not read -> the tool that does
    "zstd": "zstd -dc",
    "zip": "unzip -p",
    "7z": "7z x -so",
    "lz4": "lz4 -dc",
    "lzip": "lzip -dc",
    "compress": "gzip -dc",
    "rar": "unrar p -inul",
}
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, ValueError)


@runtime_checkable
class Stream(Protocol):
    """An open binary stream."""

    def readline(self, size: int, /) -> bytes:
        """The next line, at most `size` bytes of it."""
        ...


Source: TypeAlias = str | os.PathLike | Stream  # a file, or what is open


def name_of(source: Source) -> str:
    """How an error names it."""
    return "standard input" if hasattr(source, "readline") else os.fspath(source)


@contextlib.contextmanager
def open_bytes(source: Source) -> Iterator[io.BufferedIOBase]:
    """The bytes of a file or an open stream; gzip, bzip2, xz and (from Python 3.14) zstd are unpacked.

    What it is shows in its first bytes, not in its name. Nothing is read ahead of what is there, so that a
    pipe that pauses gives its lines at once. Raises UserError for a file that is not there, cut off,
    damaged, or packed in another way.
    """
    where = name_of(source)
    kind = "text"
    try:
        with _raw(source) as raw:
            head, kind = _look(raw)
            with _unpacked(_Rejoined(head, raw), kind, where) as file:
                yield file
    except _DAMAGED as error:
        if isinstance(error, UserError) or kind == "text":
            raise
        raise _damaged(where, kind, error) from error
    except OSError as error:
        if error.errno is None and kind != "text":  # how bz2 complains
            raise _damaged(where, kind, error) from error
        raise UserError(f"{where}: cannot be read ({error.strerror or error}).") from error


def is_rereadable(source: Source) -> bool:
    """Whether it can be read a second time: a file, not a pipe or a device."""
    if hasattr(source, "readline"):
        return False
    path = epath.Path(source)
    return "://" in os.fspath(path) or os.path.isfile(os.fspath(path))


def is_plain(source: Source) -> bool:
    """Whether the bytes of a file are those of its text; one that cannot be read is left to its reader."""
    with contextlib.suppress(OSError), _raw(source) as raw:
        return _look(raw)[1] == "text"
    return False


def _damaged(where: str, kind: str, error: BaseException) -> UserError:
    return UserError(f"{where}: the {kind} file is cut off or damaged ({error}); copy it again.")


@contextlib.contextmanager
def _raw(source: Source) -> Iterator[Any]:
    if hasattr(source, "readline"):
        yield source
        return
    # A folder of installed data may be anything with `open`.
    path = source if hasattr(source, "open") else epath.Path(source)
    with path.open("rb") as file:
        yield file


def _read_some(raw: Any, size: int) -> bytes:
    """What is there, at most `size` bytes; nothing at the end alone."""
    return getattr(raw, "read1", raw.read)(size)


def _look(raw: Any) -> tuple[bytes, str]:
    """(the bytes that had to be read to know, what it is). Text is known from its first byte, as a rule."""
    head = b""
    while not head or any(magic.startswith(head) and magic != head for magic in _MAGIC):
        more = _read_some(raw, io.DEFAULT_BUFFER_SIZE)
        if not more:
            break
        head += more
    found = [magic for magic in _MAGIC if head.startswith(magic)]
    return head, _MAGIC[max(found, key=len)] if found else "text"


class _Rejoined(io.RawIOBase):
    """What was read to look at it, and then the rest."""

    def __init__(self, head: bytes, rest: Any):
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._head[: len(buffer)] or _read_some(self._rest, len(buffer))
        self._head = self._head[len(data) :]
        buffer[: len(data)] = data
        return len(data)


class _Streams(io.RawIOBase):
    """Packed streams one after another, unpacked; zeros may follow each.

    Parallel packers write many. Python's own readers take one that is damaged near its beginning, and all
    after it, for the end of the file, and say nothing.
    """

    def __init__(self, raw: _Rejoined, new: Callable[[], Any]):
        self._raw, self._new, self._unpacker = raw, new, new()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = b""
        while not found:
            if self._unpacker.eof:
                data = self._next_stream(self._unpacker.unused_data)
                if not data:
                    return 0
                self._unpacker = self._new()
            else:
                data = self._more() if self._unpacker.needs_input else b""
            found = self._unpacker.decompress(data, len(buffer))
        buffer[: len(found)] = found
        return len(found)

    def _next_stream(self, data: bytes) -> bytes:
        """The first bytes of what follows a stream; none at the end of the file."""
        while not (rest := data.lstrip(b"\0")):
            data = _read_some(self._raw, io.DEFAULT_BUFFER_SIZE)
            if not data:
                return b""
        return rest

    def _more(self) -> bytes:
        data = _read_some(self._raw, io.DEFAULT_BUFFER_SIZE)
        if not data:
            raise EOFError("it ends within a packed stream")
        return data


def _unpacked(raw: _Rejoined, kind: str, where: str) -> io.BufferedIOBase:
    if kind in ("UTF-16", "UTF-32"):
        raise UserError(
            f"{where}: this is {kind}, not UTF-8; convert it, e.g. with `iconv -f {kind} -t UTF-8`."
        )
    readers: dict[str, Callable[[Any], Any]] = {
        "text": io.BufferedReader,
        "gzip": lambda file: gzip.GzipFile(fileobj=file),
        "bzip2": lambda file: io.BufferedReader(_Streams(file, bz2.BZ2Decompressor)),
        "xz": lambda file: io.BufferedReader(_Streams(file, lzma.LZMADecompressor)),
        "lzma": lambda file: io.BufferedReader(_Streams(file, lzma.LZMADecompressor)),
    }
    if kind == "zstd":
        with contextlib.suppress(ImportError):  # Python 3.14
            readers["zstd"] = importlib.import_module("compression.zstd").ZstdFile
    if kind not in readers:
        shown = "FILE" if where == "standard input" else where
        raise UserError(
            f"{where}: compressed with {kind}, which is not read here; unpack it: `{_UNPACK[kind]} {shown} > "
            f"TEXT`, or `{_UNPACK[kind]} {shown} |` before a command that reads standard input."
        )
    return readers[kind](raw)
