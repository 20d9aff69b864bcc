import errno
import hashlib
import os
import resource
import struct

import numpy as np
import pytest

from emnat_jax.artifacts import atomic
from emnat_jax.artifacts.example_message import example_class
from emnat_jax.artifacts.records import Row, overlay, read_shard, shard_name, to_record, write_shard
from emnat_jax.errors import UserError
from tests.data.rows import random_rows, tokens


def crc32c(data: bytes) -> int:
    """CRC-32C bit by bit, from its polynomial (RFC 3720, appendix B.4)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field of fewer than 128 bytes."""
    return bytes([number << 3 | 2, len(payload)]) + payload


def feature(name: str, kind: int, value: bytes) -> bytes:
    """One entry of the map in tf.train.Features; kind 1 bytes, 2 float, 3 int64."""
    return field(1, field(1, name.encode()) + field(2, field(kind, value)))


def same(a: Row, b: Row) -> bool:
    return (
        (a.row, a.source_text, a.target_text) == (b.row, b.source_text, b.target_text)
        and a.source.tolist() == b.source.tolist()
        and [t.tolist() for t in a.targets] == [t.tolist() for t in b.targets]
        and {n: v.tobytes() for n, v in a.scores.items()} == {n: v.tobytes() for n, v in b.scores.items()}
    )


def scored_row() -> Row:
    scores = {
        "teacher_log_prob": np.array([-1.1, -np.float32(1) / 3, -1e-40], np.float32),
        "student_log_prob": np.array([-np.inf, -0.0, 3.4e38], np.float32),
    }
    targets = [tokens(5, 70_000), tokens(), tokens(2**31 - 1)]
    return Row(2**40, tokens(9), targets, "a\u2028b 😀 \x00\t", " ré\u0301sumé שלום ", scores)


def test_the_check_value_of_crc32c_is_the_published_one():
    assert crc32c(b"123456789") == 0xE3069283


def test_a_file_is_byte_for_byte_what_was_worked_out_by_hand(tmp_path):
    row = Row(7, np.array([5, 1], np.int32), [np.array([6, 1], np.int32)], "a", "b", {"x": np.array([0.5])})
    write_shard(tmp_path / "one", [row])
    features = (
        feature("row", 3, bytes([0x0A, 1, 7]))  # packed varints
        + feature("source", 1, field(1, b"\5\0\0\0\1\0\0\0"))
        + feature("target", 1, field(1, b"\6\0\0\0\1\0\0\0"))
        + feature("source_text", 1, field(1, b"a"))
        + feature("target_text", 1, field(1, b"b"))
        + feature("x", 2, bytes([0x0A, 4]) + struct.pack("<f", 0.5))
    )
    payload = field(1, features)
    header = struct.pack("<Q", len(payload))
    assert (tmp_path / "one").read_bytes() == header + masked(header) + payload + masked(payload)


def test_rows_read_are_rows_written_bit_for_bit(tmp_path):
    rows = [*random_rows(50, targets=3), scored_row()]
    path = tmp_path / "deep" / shard_name(0, 1)
    assert write_shard(path, iter(rows)) == 51
    read = list(read_shard(path))
    assert len(read) == 51
    assert all(map(same, rows, read))
    assert read[-1].source.dtype == np.int32 and read[-1].scores["teacher_log_prob"].dtype == np.float32
    assert [p.name for p in path.parent.iterdir()] == ["part-00000-of-00001.tfrecord"]


def test_an_empty_shard_is_a_shard(tmp_path):
    assert write_shard(tmp_path / "empty", []) == 0
    assert list(read_shard(tmp_path / "empty")) == []


def test_any_flipped_bit_is_found_and_its_record_named(tmp_path):
    path = tmp_path / "part"
    write_shard(path, random_rows(1))
    first = path.stat().st_size
    write_shard(path, random_rows(2))
    good = path.read_bytes()
    for place in range(first, len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1 << place % 8]) + good[place + 1 :])
        with pytest.raises(UserError, match=r"part: record 1 .*(delete|restore)"):
            list(read_shard(path))


def test_a_cut_file_is_found_unless_cut_between_records(tmp_path):
    path = tmp_path / "part"
    write_shard(path, random_rows(1))
    good = path.read_bytes()
    for size in range(1, len(good)):
        path.write_bytes(good[:size])
        with pytest.raises(UserError, match="part: record 0 is cut off"):
            list(read_shard(path))


@pytest.mark.parametrize("length", [2**40, 2**63, 2**64 - 1])
def test_a_made_up_length_asks_for_no_memory(tmp_path, length):
    header = struct.pack("<Q", length)
    (tmp_path / "part").write_bytes(header + masked(header) + b"abc")
    with pytest.raises(UserError, match="part: record 0 is cut off"):
        list(read_shard(tmp_path / "part"))


def test_another_file_than_the_expected_is_named_after_its_last_row(tmp_path):
    rows, path = random_rows(3), tmp_path / "part"
    write_shard(path, rows)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(list(read_shard(path, sha256))) == 3
    write_shard(path, rows[:2])
    with pytest.raises(UserError, match="part is another file than the one that its manifest names"):
        list(read_shard(path, sha256))


def write_record(path, row: int, sentences: list[bytes], **columns: list[float]):
    """A record as somebody else may write it, checksums and all; the first sentence is the source."""
    example = example_class()()
    add = example.features.feature.add
    add(key="row").value.int64_list.value.append(row)
    add(key="source").value.bytes_list.value.append(sentences[0])
    add(key="target").value.bytes_list.value.extend(sentences[1:])
    for name in ("source_text", "target_text"):
        add(key=name).value.bytes_list.value.append(b"x")
    for name, values in columns.items():
        add(key=name).value.float_list.value.extend(values)
    with path.open("ab") as file:
        file.write(to_record(example.SerializeToString()))


END = np.array([7, 1], "<i4").tobytes()


@pytest.mark.parametrize(
    ("row", "sentences", "columns"),
    [
        (-1, [END, END], {}),
        (3, [END], {}),
        (3, [b"", END], {}),
        (3, [END, END, b""], {}),
        (3, [END[:4], END], {}),
        (3, [b"x" + END, END], {}),
        (3, [END, END], {"weight": [float("nan")]}),
        (3, [END, END], {"weight": [-0.5]}),
        (3, [END, END, END], {"weight": [1.0, float("inf")]}),
    ],
    ids=[
        *("negative row", "no target", "empty source", "empty target", "no EOS", "half a token"),
        *("weight NaN", "negative weight", "weight infinite"),
    ],
)
def test_a_row_that_no_writer_writes_is_refused(tmp_path, row, sentences, columns):
    write_record(tmp_path / "part", 2, [END, END], weight=[1.0])
    assert len(list(read_shard(tmp_path / "part"))) == 1
    write_record(tmp_path / "part", row, sentences, **columns)
    with pytest.raises(UserError, match="record 1 lacks the fields.*restore the file"):
        list(read_shard(tmp_path / "part"))


@pytest.mark.parametrize("second", [2, 1])
def test_rows_that_do_not_ascend_are_refused(tmp_path, second):
    for row in (2, second):
        write_record(tmp_path / "part", row, [END, END])
    with pytest.raises(UserError, match=f"part: row {second} comes after row 2"):
        list(read_shard(tmp_path / "part"))


def test_a_missing_file_and_a_foreign_record_are_the_users_error(tmp_path):
    with pytest.raises(UserError, match="nothing.*cannot be read"):
        list(read_shard(tmp_path / "nothing"))
    foreign = b"\x0a\x00"  # an Example without features
    header = struct.pack("<Q", len(foreign))
    (tmp_path / "foreign").write_bytes(header + masked(header) + foreign + masked(foreign))
    with pytest.raises(UserError, match="record 0 lacks the fields"):
        list(read_shard(tmp_path / "foreign"))
    (tmp_path / "text").write_bytes(header + masked(header) + b"\xff\xff" + masked(b"\xff\xff"))
    with pytest.raises(UserError, match=r"record 0 is no tf\.train\.Example"):
        list(read_shard(tmp_path / "text"))


def test_a_failed_writer_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "part"
    write_shard(path, random_rows(3))
    good = path.read_bytes()

    def failing():
        yield from random_rows(2, seed=5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(path, failing())
    assert path.read_bytes() == good
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(UserError, match="part: the disk is full"):
        write_shard(tmp_path / "part", random_rows(3))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_by_the_real_error_too(tmp_path):
    """A limit on the size of files, which the system reports as it does a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        with pytest.raises(UserError, match="part: the disk is full"):
            write_shard(tmp_path / "part", random_rows(30))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_the_users_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_shard(tmp_path / "file" / "part", random_rows(1))


def test_tokens_without_eos_are_a_bug_of_the_caller(tmp_path):
    with pytest.raises(AssertionError, match="row 3 lacks EOS"):
        write_shard(tmp_path / "part", [Row(3, tokens(4), [np.array([4, 5])], "", "")])


def test_tensorflow_reads_what_was_written(tmp_path):
    tf = pytest.importorskip("tensorflow")
    write_shard(tmp_path / "part", [scored_row()])
    (payload,) = tf.data.TFRecordDataset(str(tmp_path / "part"))
    feature = tf.train.Example.FromString(payload.numpy()).features.feature
    assert feature["row"].int64_list.value == [2**40]
    decoded = tf.io.decode_raw(feature["target"].bytes_list.value[0], tf.int32)
    assert decoded.numpy().tolist() == [5, 70_000, 1]


def test_overlay_takes_each_row_once_and_from_the_first_set_that_has_it():
    top, middle, bottom = (
        [Row(i, tokens(4), [tokens(5)], name, "") for i in ids]
        for name, ids in (
            ("top", (1, 4)),
            ("middle", (0, 1, 2)),
            ("bottom", (0, 1, 2, 3, 4, 5)),
        )
    )
    rows = [(row.row, row.source_text) for row in overlay(top, middle, bottom)]
    assert rows == [(0, "middle"), (1, "top"), (2, "middle"), (3, "bottom"), (4, "top"), (5, "bottom")]
    assert [row.row for row in overlay(bottom)] == [0, 1, 2, 3, 4, 5]
