"""The processor cores of this process: how many, which kind, and how to take fewer of them."""

import os
from pathlib import Path

from emnat_jax.errors import UserError, require

CPUINFO = Path("/proc/cpuinfo")


def available_cores() -> int:
    """Cores that this process may use, as the operating system counts them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def bind_to_cores(count: int) -> None:
    """Keeps this process on `count` of its cores, with all threads that it starts from now on.

    To be called before JAX is imported: it starts as many threads as it finds cores. UserError where there
    are fewer, and on a system that cannot.
    """
    require(count >= 1, f"--threads={count}: use 1 or more.")
    if not hasattr(os, "sched_setaffinity"):
        raise UserError(f"--threads={count}: this system cannot keep a process on some cores; leave it out.")
    own = sorted(os.sched_getaffinity(0))
    require(
        count <= len(own), f"--threads={count}: cores that this process may use: {len(own)}; use no more."
    )
    os.sched_setaffinity(0, own[:count])


def cpu_model() -> str | None:
    """What the system calls its processor; None where it does not say."""
    if not CPUINFO.exists():
        return None
    named = (line.split(":", 1) for line in CPUINFO.read_text().splitlines() if ":" in line)
    return next((value.strip() for name, value in named if name.strip() == "model name"), None)
