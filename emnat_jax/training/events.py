"""TensorBoard events: points of curves, in a file that is written where it is asked for.

tensorboardX defines the messages. Its own writer has a thread, which a full disk ends: whoever has points for
it then waits for ever.
"""

import contextlib
import itertools
import os
import socket
import time
from typing import Any, BinaryIO

from etils import epath

from emnat_jax.artifacts.records import to_record


class EventFile:
    """A new file of events. Points of files before it that are beyond `step` are hidden.

    ImportError where tensorboardX is missing; OSError, here and in all methods, where the disk takes no more.
    """

    def __init__(self, directory: epath.PathLike, step: int):
        from tensorboardX.proto import event_pb2, summary_pb2

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._file = _new_file(directory)
        self._write(file_version="brain.Event:2")
        self._write(step=step + 1, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))

    def add(self, step: int, values: dict[str, float]) -> None:
        """A point for each curve."""
        points = [self._summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(step=step, summary=self._summary(value=points))
        self._file.flush()

    def sync(self) -> None:
        """Puts the points on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _write(self, **fields: Any) -> None:
        self._file.write(to_record(self._event(wall_time=time.time(), **fields).SerializeToString()))


def _new_file(directory: epath.PathLike) -> BinaryIO:
    """In the order of their names as they were begun, also within the same second."""
    os.makedirs(directory, exist_ok=True)
    name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}"
    for number in itertools.count():
        with contextlib.suppress(FileExistsError):
            return open(os.path.join(directory, f"{name}.{number}"), "xb")
    raise AssertionError("some number is free")
