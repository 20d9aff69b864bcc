"""Lines on standard error, which whoever started this program may have closed."""

import contextlib
import os
import sys
from typing import TextIO


def say(text: str) -> None:
    """A line on stderr. Where nobody can read it any more, the work goes on without."""
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        forget(sys.stderr)


def forget(stream: TextIO) -> None:
    """What is left to be written to a stream, at the end of the interpreter too, goes nowhere."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
