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
INDEXES = "index-[0-9]*-of-[0-9]*"  # their names in the folder of a set
_BLOCK_ROWS = 65_536
_VERSION = 1
_UNKNOWN = "0" * 64  # in place of a hash, with as many bytes
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
    """Collects the rows of a shard and writes them block by block; before `finish` it is of no shard."""

    def __init__(self, file: BinaryIO):
        self._file, self._offset = file, 0
        self._entries: list[tuple] = []
        self._lengths: list[int] = []
        file.write(_first_record(_UNKNOWN))

    def add(self, row: Row, size: int) -> None:
        """The next row, whose record has so many bytes."""
        self._entries.append(
            (row.row, self._offset, size, len(row.source), len(row.targets), "weight" in row.scores)
        )
        self._lengths += map(len, row.targets)
        self._offset += size
        if len(self._entries) == _BLOCK_ROWS:
            self._flush()

    def finish(self, sha256: str) -> None:
        """Writes the rest, and of which shard it all is: its hash is known when it has been read."""
        self._flush()
        self._file.seek(0)
        self._file.write(_first_record(sha256))

    def _flush(self) -> None:
        counts = _COUNTS.pack(len(self._entries), len(self._lengths))
        entries, lengths = np.array(self._entries, ENTRY), np.array(self._lengths, _LENGTH)
        self._file.write(to_record(counts + entries.tobytes() + lengths.tobytes()))
        self._entries, self._lengths = [], []


@contextlib.contextmanager
def index_writer(path: epath.PathLike) -> Iterator[IndexWriter]:
    """Writes the index `path` of a shard, whole or not at all; the block ends with `finish`."""
    with atomic_file(path) as file:
        yield IndexWriter(file)


def write_index(shard: epath.PathLike, sha256: str, path: epath.PathLike) -> None:
    """Reads a whole shard and writes its index to `path`; UserError where it is damaged or another one."""
    with index_writer(path) as writer:
        for row, size in read_sized(shard, sha256):
            writer.add(row, size)
        writer.finish(sha256)


def read_index(path: epath.PathLike, shard: ShardEntry) -> Iterator[Block]:
    """The blocks of an index, verified; UserError where it is missing, damaged or not of this shard."""
    payloads = read_payloads(path)
    if next(payloads, None) != _about(shard["sha256"]):
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


def _about(sha256: str) -> bytes:
    return json.dumps({"index_version": _VERSION, "sha256": sha256}).encode()


def _first_record(sha256: str) -> bytes:
    return to_record(_about(sha256))


def _block(payload: bytes, path: epath.PathLike) -> Block:
    try:
        rows, targets = _COUNTS.unpack_from(payload)
        entries = np.frombuffer(payload, ENTRY, rows, _COUNTS.size)
        lengths = np.frombuffer(payload, _LENGTH, targets, _COUNTS.size + entries.nbytes)
        if not entries["targets"].all() or entries["targets"].sum() != targets:
            raise ValueError("rows without targets, or targets without a row")
        return Block(entries, lengths)
    except (ValueError, struct.error) as error:
        raise UserError(f"{path} holds no block of rows ({error}); delete it, it is made again.") from error
