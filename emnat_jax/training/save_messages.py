"""What libraries say of a checkpoint that cannot be saved, beside the error that they raise."""

import contextlib
import logging
from collections.abc import Iterator

from emnat_jax.runtime.event_loop import patient_loops

FULL = ("No space left", "quota exceeded", "File too large")  # what a full disk, or a limit, is reported as
_UNASKED = "Task exception was never retrieved"  # of asyncio, of whatever task
_TOLD = (  # each with a traceback, for each array that could not be written
    "_SignalingThread.run() raised an exception",
    "in background save thread",
    "Save Finalize thread",
    "Checkpointer failed: one or more items",
)


@contextlib.contextmanager
def quiet_saves() -> Iterator[None]:
    """A context for saves in the background; the error of the one that waits for them tells all.

    What asyncio has to say comes at the end of the process: the filters stay.
    """
    for name in ("asyncio", "absl"):
        logging.getLogger(name).addFilter(_is_news)  # once, however often it is added
    with patient_loops():
        yield


def _is_news(record: logging.LogRecord) -> bool:
    text, error = record.getMessage(), record.exc_info[1] if record.exc_info else None
    told = FULL if _UNASKED in text else _TOLD
    return record.levelno < logging.ERROR or not any(words in f"{text} {error}" for words in told)
