"""What a run did and when, and the lock that keeps two runs out of one workdir."""

import contextlib
import fcntl
import functools
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.atomic import append, is_local, read_file, user_errors
from emnat_jax.artifacts.manifest import utc_now
from emnat_jax.errors import InUse

JOURNAL_NAME = "journal.jsonl"
_MADE = ("end", "taken over")  # events after which the output of a stage is finished


def open_journal(directory: epath.PathLike) -> None:
    """Writes that a run begins, or resumes."""
    begun = any(line.get("event") == "begin" for line in read_journal(directory))
    write_journal(directory, event="resume" if begun else "begin")


def write_journal(directory: epath.PathLike, **fields: Any) -> None:
    """Appends one line to journal.jsonl."""
    path = epath.Path(directory) / JOURNAL_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    append(path, (json.dumps({"time": utc_now(), **fields}) + "\n").encode())


def line_count(directory: epath.PathLike) -> int:
    """How many lines there are, whole or not."""
    return len(journal_lines(directory))


def journal_lines(directory: epath.PathLike) -> list[bytes]:
    """The lines as they are, whole or not."""
    path = epath.Path(directory) / JOURNAL_NAME
    return [line for line in read_file(path).split(b"\n") if line] if path.exists() else []


def read_journal(directory: epath.PathLike) -> list[dict[str, Any]]:
    """The lines that are whole."""
    lines = map(parse_line, journal_lines(directory))
    return [line for line in lines if line is not None]


def parse_line(line: bytes) -> dict[str, Any] | None:
    """What a line of the journal holds; None for one that is not whole."""
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(line)
        return found if isinstance(found, dict) else None
    return None


def made_stages(directory: epath.PathLike) -> set[str]:
    """The outputs of stages that were finished and, as far as the journal knows, not begun again."""
    last: dict[str, Any] = {}
    for line in read_journal(directory):
        if isinstance(stage := line.get("stage"), str):
            last[stage] = line.get("event")
    return {stage for stage, event in last.items() if event in _MADE}


def known_stages(directory: epath.PathLike) -> set[str]:
    """The outputs of all stages that were ever begun, as far as the journal knows."""
    return {stage for line in read_journal(directory) if isinstance(stage := line.get("stage"), str)}


@contextlib.contextmanager
def exclusive(directory: epath.PathLike, *, waits: bool = False) -> Iterator[None]:
    """Locks the workdir for one process; the system releases it when the process ends, killed or not.

    Where another process holds it, it `waits` or raises InUse. An object store has no locks: nothing keeps
    two runs apart.
    """
    path = epath.Path(directory)
    if not is_local(path):
        yield
        return
    with user_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    lock = path / ".lock"
    # Neither emptied nor waited for: a link or a pipe may have its name in a folder from elsewhere; and
    # behind a link that leads nowhere no file is made.
    if os.path.islink(lock) and not os.path.exists(lock):
        os.unlink(lock)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(descriptor, path, waits=waits)
        yield
    finally:
        os.close(descriptor)


def output_lock(workdir: epath.PathLike) -> Callable[[epath.PathLike], contextlib.AbstractContextManager]:
    """The lock of a folder that a single command fills: with the workdir where that is a place of its rounds.

    It raises InUse as `exclusive`.
    """
    return functools.partial(_exclusive_output, workdir=workdir)


@contextlib.contextmanager
def _exclusive_output(output: epath.PathLike, workdir: epath.PathLike) -> Iterator[None]:
    with contextlib.ExitStack() as locks:
        if is_local(output) and is_local(workdir):
            rounds = os.path.join(os.path.realpath(workdir), paths.ROUNDS, "")
            if os.path.realpath(output).startswith(rounds):
                locks.enter_context(exclusive(workdir))
        locks.enter_context(exclusive(output))
        yield


def _lock(descriptor: int, path: epath.Path, *, waits: bool) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
    except BlockingIOError as error:
        raise InUse(f"{path} is in use by another emnat process; wait for it, or end it.") from error
