"""The timings of a workdir's models, kept for its report: files of a line each."""

import json
from typing import TypeVar

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.atomic import append, read_file
from emnat_jax.artifacts.sealed import seal, unseal_if_sealed
from emnat_jax.report.convert import from_values, to_values
from emnat_jax.report.timings import Throughput, Timing
from emnat_jax.runtime.progress import Log

Record = TypeVar("Record", Timing, Throughput)
_FILES: dict[type, str] = {Timing: paths.LATENCY, Throughput: paths.THROUGHPUT}


def keep_timing(directory: epath.Path, timing: Timing | Throughput) -> None:
    """Adds a timing to those of the workdir."""
    path = directory / _FILES[type(timing)]
    path.parent.mkdir(parents=True, exist_ok=True)
    append(path, f"{json.dumps(seal(to_values(timing)), ensure_ascii=False)}\n".encode())


def read_timings(directory: epath.Path, kind: type[Record], log: Log) -> tuple[Record, ...]:
    """All timings of a kind, oldest first. Damaged lines are left out, and `log` names them."""
    path, found = directory / _FILES[kind], []
    if path.is_dir():
        log(f"{path} is left out: a folder, and no file of timings")
        return ()
    for number, line in enumerate(read_file(path).splitlines() if path.exists() else [], 1):
        where = f"{path}:{number}"
        try:
            found.append(
                from_values(kind, unseal_if_sealed(json.loads(line)), where, "time that model again.")
            )
        except (ValueError, RecursionError) as error:  # among them UserError
            log(f"{where} is left out: {error}")
    return tuple(found)
