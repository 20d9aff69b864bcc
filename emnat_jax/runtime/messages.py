"""Lines on standard output and error, which whoever started this program may have closed."""

import codecs
import contextlib
import io
import json
import os
import sys
from typing import TextIO

_AS_JSON = "emnat_jax.as_json"


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


def escape_unwritable(stream: object) -> None:
    """Has a stream write what its encoding does not hold as JSON does, a \\u and four digits."""
    codecs.register_error(_AS_JSON, _escaped)
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors=_AS_JSON)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end
