"""Memory that is freed stays with the process, so that the next step need not ask the system for it again.

On a CPU each run of a compiled step allocates one block for all its intermediate values, hundreds of MB,
and frees it at its end. The C library hands such a block back to the system at once, which gives it out again
page by page, each cleared first: a sixth of a training step on one core. On several cores keeping it does not
pay: large blocks stay in the one arena of the first thread alone, for which all threads would have to wait.
"""

import ctypes
import os
import sys
from collections.abc import Mapping
from pathlib import Path

# Of mallopt(3).
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_SETTINGS = (
    (_ARENA_MAX, 1),  # another arena than the main one can not hold large blocks
    (_MMAP_MAX, 0),  # no block is mapped apart from the others
    (_TRIM_THRESHOLD, -1),  # and nothing is given back
)
_ACCELERATORS = ("nvidia[0-9]*", "kfd", "accel*", "vfio")  # device files of GPUs and TPUs


def computes_on_cpu(devices: Path = Path("/dev")) -> bool:
    """Whether JAX will compute on the CPU, as far as can be said before it is imported."""
    asked = os.environ.get("JAX_PLATFORMS", "").split(",")[0].strip()
    return asked == "cpu" or (not asked and not any(any(devices.glob(name)) for name in _ACCELERATORS))


def keep_freed_memory() -> bool:
    """Tells the C library so for this process; whether it did.

    Only glibc can be told, and only where the environment (MALLOC_..., GLIBC_TUNABLES) says nothing of it. To
    be called before there are threads: an arena that one of them has would be used by the others too. The
    process then keeps the memory of its largest moment until it ends.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None or _has_settings(os.environ):
        return False
    return all(mallopt(name, value) for name, value in _SETTINGS)


def _has_settings(environment: Mapping[str, str]) -> bool:
    """Whether whoever started the process has set what is set here."""
    tunables = environment.get("GLIBC_TUNABLES", "")
    return any(
        any(f"MALLOC_{name.upper()}{end}" in environment for end in ("", "_"))
        or f"glibc.malloc.{name}=" in tunables
        for name in ("arena_max", "mmap_max", "mmap_threshold", "trim_threshold")
    )
