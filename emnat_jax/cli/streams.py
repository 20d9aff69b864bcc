"""Input and output of commands: text, results, log."""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emnat_jax.report.convert import to_json
from emnat_jax.runtime.processes import Processes
from emnat_jax.runtime.progress import Log


def make_log(processes: Processes) -> Log:
    """A function that prints a line with the time since the start, on stderr of the first process."""
    begin = time.monotonic()
    if not processes.is_first:
        return lambda text: None

    def log(text: str) -> None:
        seconds = int(time.monotonic() - begin)
        print(f"[{seconds // 60:02}:{seconds % 60:02}] {text}", file=sys.stderr, flush=True)

    return log


def read_lines(path: str | None) -> list[str]:
    """Lines of a file (.gz or not), or of standard input; UserError for what is not UTF-8 text."""
    from emnat_jax.data.text import read_text_lines

    return list(read_text_lines(sys.stdin.buffer if path in (None, "-") else path))


def write_lines(path: str | None, lines: Sequence[str]) -> None:
    """Lines to a file, all or nothing, or to standard output."""
    if path is None or path == "-":
        sys.stdout.buffer.write("".join(f"{line}\n" for line in lines).encode())
        return
    from emnat_jax.artifacts import atomic

    atomic.write_lines(path, lines)


def show(values: Any, as_json: bool) -> None:
    """A record or a mapping on standard output: as JSON, or a line a value that there is."""
    values = to_json(values)
    if as_json:
        print(json.dumps(values, indent=2, ensure_ascii=False))
        return
    for name, value in flatten(values):
        print(f"{name}: {value:.4f}" if isinstance(value, float) else f"{name}: {value}")


def flatten(values: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every leaf that is not None."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{where}{name}.")
        elif value is not None:
            yield f"{where}{name}", value
