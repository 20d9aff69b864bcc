"""Records read by their place in the files of finished sets, in any order and from several threads."""

import functools
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, NamedTuple

import numpy as np
from etils import epath

from emnat_jax.artifacts.atomic import is_local, require_file, user_errors
from emnat_jax.artifacts.manifest import verify_content
from emnat_jax.artifacts.records import Row, row_of
from emnat_jax.errors import UserError, require

_OPEN_FILES = 256  # at once: a system has a limit, and a large set has more shards
_LEAST = 16  # records that a thread reads: fewer take less time than another thread
_REMEDY = "restore it and run the command again"
_THREADS = 16  # that wait for a disk or a network side by side


State = tuple[int, int, int]  # tells one content of a file from another without reading it


class Shard(NamedTuple):
    """A file of a finished set."""

    path: epath.Path
    sha256: str
    state: State | None = None  # when it was verified; None: as it is now


def file_state(path: epath.PathLike) -> State | None:
    """The state of a file; None of an object of a store, and of what is not there."""
    try:
        return _state(os.stat(path)) if is_local(path) else None
    except OSError:
        return None


class RecordFiles:
    """The shards of one or several sets, numbered in the order in which they are given.

    Objects of a store, which is slow to answer, are first copied to the end of `scratch`, hashes verified:
    they take as much disk there as they have bytes. UserError where the state of a file is another one.
    """

    def __init__(self, shards: Sequence[Shard], scratch: BinaryIO):
        self._paths = [shard.path for shard in shards]
        self._begins = [0] * len(shards)
        self._copy = scratch
        for number, (path, sha256, _) in enumerate(shards):
            if not is_local(path):
                self._begins[number] = self._copied(path, sha256)
        self._states = [shard.state or file_state(shard.path) for shard in shards]
        self._opened = functools.lru_cache(_OPEN_FILES)(self._open)
        self._threads = ThreadPoolExecutor(_THREADS)

    def read(self, shard: np.ndarray, offset: np.ndarray, size: np.ndarray) -> list[Row]:
        """The rows of the records at these places, in their order. UserError for one that is damaged."""
        places = list(zip(shard.tolist(), offset.tolist(), size.tolist(), strict=True))
        each = max(-(-len(places) // _THREADS), _LEAST)
        parts = [places[begin : begin + each] for begin in range(0, len(places), each)]
        fetch = self._threads.map if len(parts) > 1 else map
        records = [record for part in fetch(self._fetch, parts) for record in part]
        return [self._row(record, place) for record, place in zip(records, places, strict=True)]

    def close(self) -> None:
        """Closes all shards; nothing can be read afterwards."""
        self._threads.shutdown()
        self._opened.cache_clear()

    def _row(self, record: bytes, place: tuple[int, int, int]) -> Row:
        return row_of(record, f"{self._paths[place[0]]}: the record at byte {place[1]}")

    def _fetch(self, places: Sequence[tuple[int, int, int]]) -> list[bytes]:
        found = []
        for shard, offset, size in places:
            if not is_local(self._paths[shard]):
                found.append(os.pread(self._copy.fileno(), size, self._begins[shard] + offset))
            else:
                found.append(self._opened(shard).read(offset, size))
        return found

    def _open(self, shard: int) -> "_File":
        path = self._paths[shard]
        try:
            require_file(path)
            file = _File(os.open(path, os.O_RDONLY))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); {_REMEDY}.") from error
        require(file.state() == self._states[shard], f"{path} was changed while it was in use; {_REMEDY}.")
        return file

    def _copied(self, path: epath.Path, sha256: str) -> int:
        """Where the copy of an object begins."""
        begin = self._copy.seek(0, os.SEEK_END)
        with user_errors(tempfile.gettempdir()), path.open("rb") as file:
            shutil.copyfileobj(file, self._copy)
        self._copy.flush()
        self._copy.seek(begin)
        verify_content(path, self._copy, sha256)
        return begin


class _File:
    """An open file, which is closed when nobody holds it any more: another thread may still read it."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor

    def state(self) -> State:
        return _state(os.fstat(self._descriptor))

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, offset)

    def __del__(self) -> None:
        os.close(self._descriptor)


def _state(status: os.stat_result) -> State:
    return status.st_ino, status.st_size, status.st_mtime_ns
