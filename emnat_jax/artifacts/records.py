"""Records of sentence pairs: the one reader and the one writer.

A file is a TFRecord file: each record is its length (uint64), the masked CRC32C of these 8 bytes
(uint32), the payload, the masked CRC32C of the payload (uint32); all little-endian. The payload is a
`tf.train.Example`, so `tf.data.TFRecordDataset` and `tf.io.parse_single_example` read it.

| feature             | type                | meaning                                              |
| ------------------- | ------------------- | ---------------------------------------------------- |
| row                 | int64, 1            | 0-based line of the pair in its corpus               |
| source              | bytes, 1            | tokens of the source, EOS included                   |
| target              | bytes, K            | tokens of each target, EOS included, best first      |
| source_text         | bytes, 1            | the raw source line, UTF-8                           |
| target_text         | bytes, 1            | the raw target line (the reference), UTF-8           |
| *_log_prob          | float, K            | log p(target given source) in nats: of teacher, teacher0 |
|                     |                     | (round 0's) and student                                  |
| rank, weight        | float, K            | of chosen targets: place in the list from 0; their share |
| proposer            | float, K            | which of several models proposed it, from 0              |
| from_reference      | float, K            | 1 for a reference that no model proposed                 |

Tokens are little-endian int32, one after the other: `tf.io.decode_raw(x, tf.int32)`. K is 1 but in sets
of candidates. The rows of a file ascend by `row`.
"""

import dataclasses
import hashlib
import heapq
import io
import itertools
import struct
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import google_crc32c
import numpy as np
from etils import epath

from emnat_jax.artifacts.atomic import atomic_file, open_file
from emnat_jax.artifacts.example_message import example_class
from emnat_jax.artifacts.folders import file_size
from emnat_jax.errors import UserError
from emnat_jax.tokens import EOS

SHARDS = "part-[0-9]*-of-[0-9]*.tfrecord"  # what `shard_name` gives
REFERENCE = "from_reference"  # column of a candidates set: 1 for a reference that no model proposed
_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_FRAME = _HEADER.size + _CHECKSUM.size  # bytes of a record beside its payload
_TOKEN = np.dtype("<i4")
_END = np.array(EOS, _TOKEN).tobytes()
Digest: TypeAlias = Any  # of hashlib, whose class has no public name
_REMEDY = "restore the file, or delete its folder and run the command that made it"


@dataclasses.dataclass
class Row:
    """One line of a corpus with its target, or its K candidate targets."""

    row: int  # 0-based line of the corpus
    source: np.ndarray  # i32[S], EOS included
    targets: list[np.ndarray]  # K x i32[T], EOS included, best first
    source_text: str  # as in the corpus, unchanged
    target_text: str
    scores: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)  # name -> f32[K]


def shard_name(index: int, count: int) -> str:
    """File name of shard `index` of `count`, e.g. part-00000-of-00004.tfrecord."""
    return f"part-{index:05d}-of-{count:05d}.tfrecord"


def write_shard(path: epath.PathLike, rows: Iterable[Row]) -> int:
    """Writes all `rows` or nothing, and returns their number.

    Raises UserError when the disk is full.
    """
    count = 0
    with atomic_file(path) as file:
        for row in rows:
            file.write(to_record(_to_example(row)))
            count += 1
    return count


def to_record(payload: bytes) -> bytes:
    """A payload as a record of a TFRecord file."""
    header = struct.pack("<Q", len(payload))
    start = header + _CHECKSUM.pack(_masked_crc(header))
    return start + payload + _CHECKSUM.pack(_masked_crc(payload))


def overlay(*sets: Iterable[Row]) -> Iterator[Row]:
    """The rows of several sets by ascending `row`; of those with the same, the one of the first set.

    Each set ascends, as `read_dataset` reads it.
    """
    rows = heapq.merge(*sets, key=lambda row: row.row)
    return (next(same) for _, same in itertools.groupby(rows, key=lambda row: row.row))


def read_shard(path: epath.PathLike, sha256: str | None = None) -> Iterator[Row]:
    """The rows of a file in order, every checksum verified.

    Raises UserError naming the file and the record where it is missing, cut off or damaged, where rows do not
    ascend, and after the last row where `sha256` is given and the file has another.
    """
    return (row for row, _ in read_sized(path, sha256))


def read_sized(
    path: epath.PathLike, sha256: str | None = None, digest: Digest | None = None
) -> Iterator[tuple[Row, int]]:
    """As read_shard, with the bytes of each record; the first begins at byte 0, each other where one ends.

    `digest` gets every byte of the file.
    """
    where, last = str(path), -1  # once: an epath.Path takes as long for it as half a record
    for number, payload in enumerate(read_payloads(path, sha256, digest)):
        row = _to_row(payload, f"{where}: record {number}")
        if row.row <= last:
            raise UserError(f"{where}: row {row.row} comes after row {last}; {_REMEDY}.")
        yield row, len(payload) + _FRAME
        last = row.row


def row_of(record: bytes, name: str) -> Row:
    """The row of one record, checksums verified; UserError, in which it is called `name`, as read_shard."""
    file = io.BytesIO(record)
    return _to_row(_read_payload(file, file.read(_HEADER.size), name), name)


def read_examples(path: epath.PathLike) -> Iterator[Any]:
    """The `tf.train.Example` messages of any TFRecord file, checksums verified; errors as read_shard."""
    for number, payload in enumerate(read_payloads(path)):
        yield _to_message(payload, f"{path}: record {number}")


def _to_message(payload: bytes, name: str) -> Any:
    from google.protobuf.message import DecodeError

    try:
        return example_class().FromString(payload)
    except DecodeError as error:
        raise UserError(f"{name} is no tf.train.Example; {_REMEDY}.") from error


def _to_row(payload: bytes, name: str) -> Row:
    try:
        return _from_example(_to_message(payload, name))
    except (KeyError, IndexError, ValueError) as error:
        raise UserError(f"{name} lacks the fields of this package ({error}); {_REMEDY}.") from error


def features_of(example: Any) -> dict[str, Any]:
    """Name -> tf.train.Feature of an example."""
    return {entry.key: entry.value for entry in example.features.feature}


class _Hashed:
    """A file of so many bytes that is hashed as it is read."""

    def __init__(self, file: Any, size: int, digest: Digest):  # a file of a store is no BinaryIO
        self._file, self._left, self._digest = file, size, digest

    def read(self, size: int) -> bytes:
        """The next bytes, or what is left: a length that somebody made up asks for no memory."""
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        self._digest.update(data)
        return data


def read_payloads(
    path: epath.PathLike, sha256: str | None = None, digest: Digest | None = None
) -> Iterator[bytes]:
    """What the records of any TFRecord file hold, checksums verified; errors as read_shard.

    `digest`, a new SHA-256, gets every byte of the file.
    """
    path, where = epath.Path(path), str(path)
    try:
        file = open_file(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {_REMEDY}.") from error
    with file:
        digest = hashlib.sha256() if digest is None else digest
        hashed = _Hashed(file, file_size(path), digest)
        for number in itertools.count():
            header = hashed.read(_HEADER.size)
            if not header:
                break
            yield _read_payload(hashed, header, f"{where}: record {number}")
    if sha256 not in (None, digest.hexdigest()):
        raise UserError(f"{path} is another file than the one that its manifest names; {_REMEDY}.")


def _read_payload(file: _Hashed | io.BytesIO, header: bytes, name: str) -> bytes:
    if len(header) < _HEADER.size:
        raise UserError(f"{name} is cut off; {_REMEDY}.")
    length, checksum = _HEADER.unpack(header)
    # Checked before it is used: a flipped bit in the length would ask for any amount of memory.
    if _masked_crc(header[:8]) != checksum:
        raise UserError(f"{name} has a damaged length; {_REMEDY}.")
    payload, end = file.read(length), file.read(_CHECKSUM.size)
    if len(payload) < length or len(end) < _CHECKSUM.size:
        raise UserError(f"{name} is cut off; {_REMEDY}.")
    if _masked_crc(payload) != _CHECKSUM.unpack(end)[0]:
        raise UserError(f"{name} is damaged (wrong checksum); {_REMEDY}.")
    return payload


def _masked_crc(data: bytes) -> int:
    """CRC32C rotated and shifted, as TFRecord has it: a CRC of data that holds CRCs is weak."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _to_example(row: Row) -> bytes:
    assert all(tokens[-1] == EOS for tokens in (row.source, *row.targets)), f"row {row.row} lacks EOS"
    example = example_class()()
    add = example.features.feature.add
    add(key="row").value.int64_list.value.append(row.row)
    add(key="source").value.bytes_list.value.append(_to_bytes(row.source))
    add(key="target").value.bytes_list.value.extend(map(_to_bytes, row.targets))
    add(key="source_text").value.bytes_list.value.append(row.source_text.encode())
    add(key="target_text").value.bytes_list.value.append(row.target_text.encode())
    for name, scores in sorted(row.scores.items()):
        assert len(scores) == len(row.targets), f"row {row.row}: {name} has {len(scores)} values"
        add(key=name).value.float_list.value.extend(np.asarray(scores, np.float32).tolist())
    return example.SerializeToString()


def _from_example(example: Any) -> Row:
    feature = features_of(example)
    row = Row(
        row=feature.pop("row").int64_list.value[0],
        source=_from_bytes(feature.pop("source").bytes_list.value[0]),
        targets=[_from_bytes(data) for data in feature.pop("target").bytes_list.value],
        source_text=feature.pop("source_text").bytes_list.value[0].decode(),
        target_text=feature.pop("target_text").bytes_list.value[0].decode(),
        scores={name: np.array(value.float_list.value, np.float32) for name, value in feature.items()},
    )
    if row.row < 0 or not row.targets:
        raise ValueError(f"row {row.row} has {len(row.targets)} targets")
    for name, scores in row.scores.items():
        if len(scores) != len(row.targets):
            raise ValueError(f"{name} has {len(scores)} values for {len(row.targets)} targets")
        if name == "weight" and not (np.isfinite(scores) & (scores >= 0)).all():
            raise ValueError(f"row {row.row} has a weight that is negative or not finite")
    return row


def _to_bytes(tokens: np.ndarray) -> bytes:
    return np.asarray(tokens).astype(_TOKEN).tobytes()


def _from_bytes(data: bytes) -> np.ndarray:
    if not data.endswith(_END):
        raise ValueError("a sentence does not end in EOS")
    return np.frombuffer(data, _TOKEN).astype(np.int32)
