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
    """Whether an entry is there to its end; of those that zstd has packed (Python 3.14) nothing is known."""
    if entry.startswith(_ZSTD):
        return True
    unpacking = zlib.decompressobj()
    with contextlib.suppress(zlib.error):
        unpacking.decompress(entry)
        return unpacking.eof
    return False
