"""JAX's cache of compiled programs on a disk, after a kill.

JAX writes an entry in place. One that a kill, or a full disk, has cut short stays as it is: every later run
warns of it and compiles the program again.
"""

import contextlib
import os
import time
import zlib
from pathlib import Path

_ENTRIES = "*-cache"
_STAMP = ".emnat-checked"  # its time is that of the last check
_ZSTD = b"\x28\xb5\x2f\xfd"
_RUN_LENGTH = 1  # kind of a block of zstd: one byte, however often it is repeated


def delete_cut_entries(folder: Path) -> None:
    """Deletes entries that were cut short since the last call; nothing at the first one."""
    stamp, now = folder / _STAMP, time.time_ns()
    with contextlib.suppress(OSError):
        for path in _written_since(folder, stamp):
            if not is_whole(path.read_bytes()):
                path.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        stamp.touch()
        os.utime(stamp, ns=(now, now))


def _written_since(folder: Path, stamp: Path) -> list[Path]:
    if not stamp.exists():
        return []
    last = stamp.stat().st_mtime_ns
    files = (path for path in folder.glob(_ENTRIES) if path.is_file())
    return [path for path in files if path.stat().st_mtime_ns >= last]


def is_whole(entry: bytes) -> bool:
    """Whether an entry, which zlib or zstd has packed, is there to its end."""
    if entry.startswith(_ZSTD):
        return _is_whole_frame(entry)
    unpacking = zlib.decompressobj()
    with contextlib.suppress(zlib.error):
        unpacking.decompress(entry)
        return unpacking.eof
    return False


def _is_whole_frame(data: bytes) -> bool:
    """Of zstd (RFC 8878, section 3.1.1): a header, blocks that tell their sizes, perhaps a checksum."""
    with contextlib.suppress(IndexError):
        flags = data[4]
        is_single, has_checksum = flags >> 5 & 1, flags >> 2 & 1
        place = 5 + (1 - is_single) + (0, 1, 2, 4)[flags & 3] + (is_single, 2, 4, 8)[flags >> 6]
        is_last = False
        while not is_last:
            header = data[place] | data[place + 1] << 8 | data[place + 2] << 16
            is_last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
            place += 3 + (1 if kind == _RUN_LENGTH else size)
        return place + 4 * has_checksum == len(data)
    return False
