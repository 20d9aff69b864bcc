"""The timings of a workdir's models, kept for its report: files of a line each."""

from typing import TypeVar

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.atomic import append
from emnat_jax.report.convert import dumps, loads
from emnat_jax.report.timings import Throughput, Timing

Record = TypeVar("Record", Timing, Throughput)
_FILES: dict[type, str] = {Timing: paths.LATENCY, Throughput: paths.THROUGHPUT}


def keep_timing(directory: epath.Path, timing: Timing | Throughput) -> None:
    """Adds a timing to those of the workdir."""
    path = directory / _FILES[type(timing)]
    path.parent.mkdir(parents=True, exist_ok=True)
    append(path, f"{dumps(timing, indent=None)}\n".encode())


def read_timings(directory: epath.Path, kind: type[Record]) -> tuple[Record, ...]:
    """All timings of a kind, oldest first. UserError for a damaged line."""
    path = directory / _FILES[kind]
    lines = path.read_text().splitlines() if path.exists() else []
    return tuple(
        loads(kind, line, f"{path}:{number}", "delete the line, and time that model again.")
        for number, line in enumerate(lines, 1)
    )
