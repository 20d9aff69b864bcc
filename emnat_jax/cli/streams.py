"""Input and output of commands: text, results, log."""

import contextlib
import json
import os
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from emnat_jax.errors import UserError
from emnat_jax.report.convert import to_json
from emnat_jax.runtime.messages import say
from emnat_jax.runtime.processes import Processes
from emnat_jax.runtime.progress import Log


def make_log(processes: Processes) -> Log:
    """A function that prints a line with the time since the start, on stderr of the first process."""
    begin = time.monotonic()
    if not processes.is_first:
        return lambda text: None

    def log(text: str) -> None:
        seconds = int(time.monotonic() - begin)
        say(f"[{seconds // 60:02}:{seconds % 60:02}] {text}")

    return log


def note(command: str, text: str) -> None:
    """A line on stderr about what a command did."""
    say(f"emnat {command}: {text}")


def read_lines(path: str | None) -> list[str]:
    """Lines of a file, packed or not, or of standard input; UserError for what is not UTF-8 text."""
    return list(open_lines(path))


def open_lines(path: str | None) -> Iterator[str]:
    """As `read_lines`, one at a time, each as soon as it is there."""
    from emnat_jax.data.text import read_text_lines

    return read_text_lines(standard_input() if path in (None, "-") else path)


def pauses(path: str | None) -> bool:
    """Whether the input is a pipe, a terminal or the like, of which a part may come later."""
    if path in (None, "-"):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            return not stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode)
        return False
    from emnat_jax.data.compressed import is_rereadable

    return not is_rereadable(path)


def standard_input() -> Any:
    """Standard input, unbuffered where it has a descriptor: what has arrived is there to be read.

    (A thread that waits in `sys.stdin` would keep the interpreter from ending.)
    """
    if sys.stdin is None:
        raise UserError("standard input is closed; name a file with --input.")
    with contextlib.suppress(OSError, ValueError):
        return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
    return sys.stdin.buffer


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
