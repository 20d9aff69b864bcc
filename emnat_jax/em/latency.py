"""The timings of a workdir's models, kept for its report: report/latency.jsonl, a line each."""

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.atomic import append
from emnat_jax.report.convert import dumps, loads
from emnat_jax.report.timings import Timing


def keep_latency(directory: epath.Path, timing: Timing) -> None:
    """Adds a timing to those of the workdir."""
    path = directory / paths.LATENCY
    path.parent.mkdir(parents=True, exist_ok=True)
    append(path, f"{dumps(timing, indent=None)}\n".encode())


def read_latency(directory: epath.Path) -> tuple[Timing, ...]:
    """All timings of the workdir, oldest first. UserError for a damaged line."""
    path = directory / paths.LATENCY
    lines = path.read_text().splitlines() if path.exists() else []
    return tuple(
        loads(Timing, line, f"{path}:{number}", "delete the line, and time that model again.")
        for number, line in enumerate(lines, 1)
    )
