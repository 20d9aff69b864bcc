"""What a run did and when, and the lock that keeps two runs out of one workdir."""

import contextlib
import fcntl
import json
from collections.abc import Iterator

from etils import epath

from emnat_jax.data.manifest import utc_now
from emnat_jax.errors import UserError

JOURNAL_NAME = "journal.jsonl"


class Journal:
    """journal.jsonl: a line for the start and the end of every stage, in every run."""

    def __init__(self, directory: epath.PathLike):
        self._path = epath.Path(directory) / JOURNAL_NAME
        self._path.parent.mkdir(parents=True, exist_ok=True)
        begun = self._path.exists()
        self.write(event="resume" if begun else "begin")

    def write(self, **fields) -> None:
        """Appends one line; a line that a kill cut short is closed first."""
        line = json.dumps({"time": utc_now(), **fields}) + "\n"
        cut_short = self._path.exists() and not self._path.read_bytes().endswith(b"\n")
        with self._path.open("ab") as file:
            file.write(("\n" + line if cut_short else line).encode())


def read_journal(directory: epath.PathLike) -> list[dict]:
    """The lines that are whole."""
    path = epath.Path(directory) / JOURNAL_NAME
    lines = []
    for line in path.read_text().splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError):
            lines.append(json.loads(line))
    return lines


@contextlib.contextmanager
def exclusive(directory: epath.PathLike) -> Iterator[None]:
    """Holds the workdir for one process; the system lets go of it when the process ends, killed or not."""
    path = epath.Path(directory)
    path.mkdir(parents=True, exist_ok=True)
    with open(path / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{path} is in use by another emnat process; wait for it, or end it.") from error
        yield
