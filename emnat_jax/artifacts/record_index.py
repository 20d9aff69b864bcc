"""Where each record of a shard lies and how long its sentences are: to plan from without parsing rows.

Beside the shard `part-00000-of-00004.tfrecord` lies `index-00000-of-00004`. It is a TFRecord file too. Its
first record names the shard by the sha256 that the manifest has of it, so that an index of another shard,
or of this one before it was written anew, is none. The others hold blocks of rows: their number, the number
of their targets, ENTRY of each row, then the length (uint32) of each target. An index can be made again.
"""

import contextlib
import json
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
from etils import epath

from emnat_jax.artifacts.atomic import atomic_file
from emnat_jax.artifacts.manifest import ShardEntry
from emnat_jax.artifacts.records import Row, read_payloads, read_sized, to_record
from emnat_jax.errors import UserError

ENTRY = np.dtype(
    [
        ("row", "<i8"),  # line of the corpus
        ("offset", "<u8"),  # of the record in its file, in bytes
        ("size", "<u4"),  # of the record, in bytes
        ("source", "<u4"),  # tokens, EOS included
        ("targets", "<u4"),  # number of targets
        ("weighted", "?"),  # whether the row has the column `weight`
    ]
)
INDEXES = "index-*"  # their names in the folder of a set
_BLOCK_ROWS = 65_536
_VERSION = 1
_COUNTS = struct.Struct("<II")
_LENGTH = np.dtype("<u4")


class Block(NamedTuple):
    """Neighbouring rows of a shard."""

    entries: np.ndarray  # ENTRY[n]
    target_lengths: np.ndarray  # u32[sum of entries["targets"]]; tokens, EOS included


def index_path(shard: epath.PathLike) -> epath.Path:
    """Where the index of a shard lies."""
    shard = epath.Path(shard)
    return shard.with_name(f"index-{shard.stem.removeprefix('part-')}")


class IndexWriter:
    """Collects the rows of a shard and writes them block by block."""

    def __init__(self, file: BinaryIO, sha256: str):
        self._file, self._offset = file, 0
        self._entries: list[tuple] = []
        self._lengths: list[int] = []
        file.write(to_record(json.dumps(_about(sha256)).encode()))

    def add(self, row: Row, size: int) -> None:
        """The next row, whose record has so many bytes."""
        self._entries.append(
            (row.row, self._offset, size, len(row.source), len(row.targets), "weight" in row.scores)
        )
        self._lengths += map(len, row.targets)
        self._offset += size
        if len(self._entries) == _BLOCK_ROWS:
            self.flush()

    def flush(self) -> None:
        """Writes what has been collected."""
        counts = _COUNTS.pack(len(self._entries), len(self._lengths))
        entries, lengths = np.array(self._entries, ENTRY), np.array(self._lengths, _LENGTH)
        self._file.write(to_record(counts + entries.tobytes() + lengths.tobytes()))
        self._entries, self._lengths = [], []


@contextlib.contextmanager
def index_writer(path: epath.PathLike, sha256: str) -> Iterator[IndexWriter]:
    """Writes the index `path` of a shard with this hash, whole or not at all."""
    with atomic_file(path) as file:
        writer = IndexWriter(file, sha256)
        yield writer
        writer.flush()


def write_index(shard: epath.PathLike, sha256: str, path: epath.PathLike) -> None:
    """Reads a whole shard and writes its index to `path`; UserError where it is damaged or another one."""
    with index_writer(path, sha256) as writer:
        for row, size in read_sized(shard, sha256):
            writer.add(row, size)


def read_index(path: epath.PathLike, shard: ShardEntry) -> Iterator[Block]:
    """The blocks of an index, verified; UserError where it is missing, damaged or not of this shard."""
    payloads = read_payloads(path)
    if next(payloads, None) != json.dumps(_about(shard["sha256"])).encode():
        raise UserError(f"{path} is not the index of {shard['name']}; delete it, it is made again.")
    rows = 0
    for payload in payloads:
        block = _block(payload, path)
        rows += len(block.entries)
        yield block
    if rows != shard["rows"]:
        raise UserError(
            f"{path} has {rows} rows and {shard['name']} {shard['rows']}; delete it, it is made again."
        )


def index_fits(path: epath.PathLike, shard: ShardEntry) -> bool:
    """Whether a whole index of this shard lies there."""
    try:
        for _ in read_index(path, shard):
            pass
    except UserError:
        return False
    return True


def _about(sha256: str) -> dict:
    return {"index_version": _VERSION, "sha256": sha256}


def _block(payload: bytes, path: epath.PathLike) -> Block:
    try:
        rows, targets = _COUNTS.unpack_from(payload)
        entries = np.frombuffer(payload, ENTRY, rows, _COUNTS.size)
        return Block(entries, np.frombuffer(payload, _LENGTH, targets, _COUNTS.size + entries.nbytes))
    except (ValueError, struct.error) as error:
        raise UserError(f"{path} holds no block of rows ({error}); delete it, it is made again.") from error
