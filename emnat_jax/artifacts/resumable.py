"""A long text that goes on after a kill: written beside its place with a record of what it was made from."""

import contextlib
import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from emnat_jax.artifacts.atomic import atomic_file, is_local, sync_folder, user_errors
from emnat_jax.artifacts.sealed import seal, unseal
from emnat_jax.artifacts.text_output import Pack, Part, TextOutput, follow, open_special, packer
from emnat_jax.errors import InUse, UserError

Log = Callable[[str], None]


@contextlib.contextmanager
def open_resumable(path: str, made_from: Mapping[str, Any], log: Log) -> Iterator[TextOutput]:
    """The output `path` for text that is made part by part from an input.

    A device or a pipe is written into, and the file behind a symbolic link is the one that is replaced. Text
    is compressed where the name ends in .gz, .bz2 or .xz.

    A file is written as `.NAME.part`, with the record `.NAME.part.log`, and gets its name when the block
    ends. Where the block fails or the process is killed, both stay, and the next call with the same
    `made_from` (JSON: all that the text depends on beside the input) has the parts written so far in
    `earlier`; with another one it says what differs and starts anew. A device, a pipe and an object of a
    store are written from the beginning. Raises InUse where another process writes the same file.
    """
    pack, (target, is_special) = packer(path), follow(path)
    if is_special or not is_local(path):
        with open_special(target) if is_special else atomic_file(target) as file:
            output = TextOutput(path, file, pack)
            yield output
            output.finish()
        return
    with _Resumable(path, target, pack) as resumable:
        resumable.begin(json.loads(json.dumps(made_from)), log)
        yield resumable
        resumable.finish()


class _Resumable(TextOutput):
    """The unfinished neighbour of a file and its record: a line of what it is made from, then one a part."""

    def __init__(self, name: str, target: str, pack: Pack):
        folder, base = os.path.split(target)
        self._target = target
        self._part, self._record = (os.path.join(folder, f".{base}.part{end}") for end in ("", ".log"))
        with user_errors(name):
            os.makedirs(folder, exist_ok=True)
            if os.path.exists(target) and not os.access(target, os.W_OK):
                raise UserError(f"{name}: cannot be written (it is read-only); name another file.")
            self._log = _open_own(self._record)
            self._lock(name)
            super().__init__(name, _open_own(self._part), pack)
        # Bytes of the text and of the record: of nothing written, then after each earlier part.
        self._places: list[tuple[int, int]] = []

    def _lock(self, name: str) -> None:
        try:
            fcntl.flock(self._log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._log.close()
            raise InUse(f"{name} is being written by another emnat process; name another file.") from error

    def begin(self, made_from: dict[str, Any], log: Log) -> None:
        """Reads the record of an earlier run; one of other models or options is deleted."""
        before, begin, entries = _read(self._log)
        if before == made_from:
            whole = list(_there(self._file.fileno(), entries))
            self.earlier = [Part(entry["digest"], entry["lines"], entry["notes"]) for entry, _ in whole]
            self._places = [(0, begin), *((entry["end"], place) for entry, place in whole)]
            return
        if before is not None and entries:
            names = sorted(key for key in before.keys() | made_from if before.get(key) != made_from.get(key))
            log(f"{self._name}: starts anew; the unfinished one was made with another {', '.join(names)}")
        self._truncate(0, 0)
        self._note(made_from)
        self._places = [(0, os.fstat(self._log.fileno()).st_size)]

    def go_on(self, count: int) -> None:
        self.earlier = self.earlier[:count]
        self._truncate(*self._places[count])
        self._is_empty = self._places[count][0] == 0

    def write(self, lines: Sequence[str], part: Part) -> None:
        text = self._file.fileno()
        begin = os.fstat(text).st_size
        super().write(lines, part)
        with user_errors(self._name):
            os.fsync(text)
            end = os.fstat(text).st_size
            self._note({**part._asdict(), "end": end, "sha256": _hash(text, begin, end)})

    def finish(self) -> None:
        """Gives the file its name, and the mode of the one that it replaces."""
        super().finish()
        with user_errors(self._name):
            os.fsync(self._file.fileno())
            if os.path.exists(self._target):
                os.chmod(self._part, os.stat(self._target).st_mode & 0o7777)
            os.replace(self._part, self._target)
            sync_folder(os.path.dirname(self._target))
            os.unlink(self._record)

    def _truncate(self, text: int, record: int) -> None:
        self._file.truncate(text)
        self._log.truncate(record)

    def _note(self, entry: dict[str, Any]) -> None:
        self._log.write(json.dumps(seal(entry)).encode() + b"\n")
        self._log.flush()

    def __enter__(self) -> "_Resumable":
        return self

    def __exit__(self, *_: object) -> None:
        """What holds nothing yet is not left behind."""
        unused = os.path.exists(self._part) and os.fstat(self._file.fileno()).st_size == 0
        for path in (self._part, self._record) if unused else ():
            with contextlib.suppress(OSError):
                os.unlink(path)
        self._file.close()
        self._log.close()


def _open_own(path: str) -> BinaryIO:
    """A file to be gone on with. A link or a pipe of that name is not: `atomic_file` says why."""
    with contextlib.suppress(FileNotFoundError):
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            os.unlink(path)
    return open(path, "a+b", opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW, 0o666))


def _read(record: BinaryIO) -> tuple[dict[str, Any] | None, int, list[tuple[dict[str, Any], int]]]:
    """(what the text is made from, bytes of that line, each part with the place in the record after it).

    None where nothing is noted; the parts up to a line that a kill cut short, or that is damaged.
    """
    record.seek(0)
    line = record.readline()
    header, begin = _parsed(line), len(line)
    entries: list[tuple[dict[str, Any], int]] = []
    place = begin
    for line in record if header is not None else ():
        entry, place = _parsed(line), place + len(line)
        if entry is None or not _is_part(entry, entries[-1][0]["end"] if entries else 0):
            break
        entries.append((entry, place))
    return header, begin, entries


_PART = {"digest": str, "lines": int, "notes": dict, "end": int, "sha256": str}


def _is_part(entry: dict[str, Any], begin: int) -> bool:
    """Whether this describes a part that begins at a byte of the text."""
    fits = all(type(entry.get(name)) is kind for name, kind in _PART.items())
    return fits and begin <= entry["end"] < 1 << 62


def _parsed(line: bytes) -> dict[str, Any] | None:
    """What a line holds; None for one that a kill cut short, or that is damaged."""
    with contextlib.suppress(ValueError, RecursionError):
        return unseal(json.loads(line)) if line.endswith(b"\n") else None
    return None


def _there(text: int, entries: Iterable[tuple[dict[str, Any], int]]) -> Iterator[tuple[dict[str, Any], int]]:
    """The first parts, as far as the text has their bytes."""
    begin = 0
    for part, place in entries:
        if _hash(text, begin, part["end"]) != part["sha256"]:
            return
        yield part, place
        begin = part["end"]


def _hash(text: int, begin: int, end: int) -> str:
    """Of the bytes of a file from `begin` to `end`, as far as it has them."""
    size = min(end, os.fstat(text).st_size) - begin
    return hashlib.sha256(os.pread(text, max(size, 0), begin)).hexdigest()
