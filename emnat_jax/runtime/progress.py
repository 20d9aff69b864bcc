"""The progress of a long job: a bar on a terminal, a line now and then in a file."""

import sys
import time
from collections.abc import Callable
from typing import Any

Log = Callable[[str], None]  # takes a line of text
SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Counts up to `total`. Terminals get a tqdm bar, everything else plain lines through `log`."""

    def __init__(self, name: str, total: int, start: int, log: Log):
        self._name, self._total, self._log = name, total, log
        self._last_line = -SECONDS_BETWEEN_LINES
        self._bar = _open_bar(name, total, start) if sys.stderr.isatty() and start < total else None

    def advance(self) -> None:
        """Counts one step more."""
        if self._bar is not None:
            self._bar.update()

    def show(self, step: int, values: dict[str, float]) -> None:
        """Shows `values` beside the count; in a file at most every ten seconds, and at the end."""
        text = " ".join(f"{name}={value:.4g}" for name, value in values.items())
        now = time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix_str(text)
        elif now - self._last_line >= SECONDS_BETWEEN_LINES or step >= self._total:
            self._last_line = now
            self._log(f"{self._name} {step}/{self._total} {text}")

    def note(self, text: str) -> None:
        """Prints a line at once, whatever the time since the last one."""
        if self._bar is not None:
            self._bar.write(f"{self._name}: {text}", file=sys.stderr)
        else:
            self._log(f"{self._name}: {text}")

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _open_bar(name: str, total: int, start: int) -> Any:
    from tqdm import tqdm

    return tqdm(desc=name, total=total, initial=start, dynamic_ncols=True, mininterval=0.5)
