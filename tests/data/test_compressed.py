"""Text out of whatever it is packed in, from files, pipes and open streams."""

import bz2
import gzip
import io
import lzma
import os
import threading

import pytest

from emnat_jax.data.text import read_text_lines
from emnat_jax.errors import UserError

TEXT = "eins\n\nzwei 今日は 🙂\n".encode()
LINES = ["eins", "", "zwei 今日は 🙂"]
BOM = b"\xef\xbb\xbf"
PACKED = {
    "plain": bytes,
    "gzip": gzip.compress,
    "two gzip files": lambda text: gzip.compress(text[:7]) + gzip.compress(text[7:]),
    "bzip2": bz2.compress,
    "two bzip2 files": lambda text: bz2.compress(text[:7]) + bz2.compress(text[7:]),
    "bzip2 and zeros": lambda text: bz2.compress(text) + bytes(9),
    "xz": lzma.compress,
    "two xz files": lambda text: lzma.compress(text[:7]) + bytes(4) + lzma.compress(text[7:]) + bytes(8),
    "lzma": lambda text: lzma.compress(text, lzma.FORMAT_ALONE),
}


class Slow(io.RawIOBase):
    """Gives a byte at a time, as a pipe may."""

    def __init__(self, data: bytes):
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        data = self._data.read(1)
        buffer[: len(data)] = data
        return len(data)


@pytest.fixture
def fifo(tmp_path):
    """A function: bytes -> a named pipe that has them once."""
    path = tmp_path / "fifo"
    os.mkfifo(path)

    def filled(data: bytes):
        threading.Thread(target=path.write_bytes, args=(data,), daemon=True).start()
        return path

    return filled


@pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED)
@pytest.mark.parametrize("mark", [b"", BOM], ids=["", "mark"])
def test_the_same_lines_from_anywhere(tmp_path, fifo, pack, mark):
    data = pack(mark + TEXT)
    (tmp_path / "file").write_bytes(data)
    for source in (tmp_path / "file", io.BytesIO(data), Slow(data), fifo(data)):
        assert list(read_text_lines(source)) == LINES


@pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED)
def test_nothing_is_no_line(tmp_path, fifo, pack):
    for source in (io.BytesIO(pack(b"")), fifo(pack(b""))):
        assert list(read_text_lines(source)) == []


def test_a_mark_further_on_stays(tmp_path):
    assert list(read_text_lines(io.BytesIO(b"a\n" + BOM + b"b\n"))) == ["a", "\ufeffb"]


@pytest.mark.parametrize(
    "begin", [b"B", b"BZ", b"BZh", b"BZh9", b"P", b"PK", b"7", b"7z", b"L", b"LZIP", b"]"]
)
def test_text_that_begins_like_something_packed_is_text(begin):
    for source in (io.BytesIO(begin + b"\n"), Slow(begin), Slow(begin + b" x\n")):
        assert next(read_text_lines(source)).startswith(begin.decode())


def test_a_line_is_there_before_the_next_is_written():
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=0) as file, open(writer, "wb", buffering=0) as out:
        lines = read_text_lines(file)
        for text in ("B", "7z", "eins"):
            out.write(f"{text}\n".encode())
            assert next(lines) == text


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz"])
@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_what_is_damaged_is_named(tmp_path, kind, damage):
    data = PACKED[kind](os.urandom(3000).hex().encode())
    path = tmp_path / "file"
    middle = len(data) // 2
    path.write_bytes(data[:middle] if damage == "cut" else data[:middle] + b"xxxx" + data[middle + 4 :])
    for source, name in ((path, "file"), (io.BytesIO(path.read_bytes()), "standard input")):
        with pytest.raises(UserError, match=rf"{name}: the {kind} file is cut off or damaged \("):
            list(read_text_lines(source))


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz"])
@pytest.mark.parametrize("place", [0, 1, 20, -3])
def test_what_follows_a_packed_stream_is_another_or_damage(kind, place):
    """Parallel packers write many streams: a damaged one is no end of the text."""
    whole, second = PACKED[kind](b"eins\n"), bytearray(PACKED[kind](b"zwei\n"))
    second[place] ^= 1
    for rest in (second, second[:7], b"garbage"):
        found = read_text_lines(io.BytesIO(whole + rest))
        assert next(found) == "eins"
        with pytest.raises(UserError, match=f"the {kind} file is cut off or damaged"):
            list(found)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"PK\x03\x04rest", "compressed with zip.*unzip -p"),
        (b"7z\xbc\xaf\x27\x1crest", "compressed with 7z.*7z x -so"),
        (b"\x04\x22\x4d\x18rest", "compressed with lz4.*lz4 -dc"),
        (b"LZIP\x01rest", "compressed with lzip.*lzip -dc"),
        (b"\x1f\x9drest", "compressed with compress.*gzip -dc"),
        (b"Rar!\x1a\x07rest", "compressed with rar.*unrar p"),
        ("ein Wort\n".encode("utf-16"), "this is UTF-16, not UTF-8.*iconv -f UTF-16"),
        (b"\xfe\xff" + "ein Wort\n".encode("utf-16-be"), "this is UTF-16"),
        ("ein Wort\n".encode("utf-32"), "this is UTF-32"),
        ("\u00e4\n".encode("latin-1"), "line 1 is not UTF-8 .byte 1 is 0xe4"),
    ],
)
def test_what_is_not_read_is_named_with_a_tool(tmp_path, data, says):
    (tmp_path / "odd").write_bytes(data)
    for source, name in ((tmp_path / "odd", "odd"), (Slow(data), "standard input")):
        with pytest.raises(UserError, match=f"{name}: {says}"):
            list(read_text_lines(source))


def test_zstd_is_read_or_named():
    zstd = pytest.importorskip  # the library came with Python 3.14
    data = bytes.fromhex("28b52ffd040021000065696e730a") + b"\0\0\0\0"
    try:
        packed = zstd("compression.zstd").compress(TEXT)
    except pytest.skip.Exception:
        with pytest.raises(UserError, match="compressed with zstd.*`zstd -dc FILE |"):
            list(read_text_lines(io.BytesIO(data)))
    else:
        assert list(read_text_lines(io.BytesIO(packed))) == LINES
