"""The memory of this process: now, and at its peak since a moment."""

import contextlib
import ctypes
import gc
import resource
import sys
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # to be written into clear_refs: proc(5)


def free_unused() -> None:
    """Gives memory that is free back to the system, so that it counts no longer."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # the C library of Linux has it
        ctypes.CDLL(None).malloc_trim(0)


def reset_peak() -> bool:
    """Lets the peak start anew; False where the system cannot, so that it stays that since the start."""
    with contextlib.suppress(OSError):
        CLEAR.write_text(_RESET_PEAK)
        return True
    return False


def resident_bytes() -> int:
    """Bytes of the process that are in memory, where `reset_peak` works."""
    return _status("VmRSS") or 0


def peak_bytes() -> int:
    """The most that have been in memory since `reset_peak`.

    Not `getrusage`, where Linux says: a new program inherits the peak of the process that started it there.
    """
    if (found := _status("VmHWM")) is not None:
        return found
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(name: str) -> int | None:
    """A size in /proc/self/status, in bytes; None where there is no such file."""
    if not STATUS.exists():
        return None
    lines = (line.split() for line in STATUS.read_text().splitlines())
    return next((1024 * int(line[1]) for line in lines if line[0] == f"{name}:"), None)
