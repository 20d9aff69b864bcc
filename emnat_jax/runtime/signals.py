"""SIGINT and SIGTERM: heard by a thread, because the main thread may be waiting for the devices."""

import os
import select
import signal
import socket
import sys
import threading
from typing import Any

from emnat_jax.errors import INTERRUPTED_STATUS, RESTART_STATUS
from emnat_jax.runtime.processes import Processes

GRACE_SECONDS = 3.0  # for the main thread to end of itself
_NUMBERS = (signal.SIGINT, signal.SIGTERM)


def status_of(number: int | None) -> int:
    """The exit status of a program that a signal ended."""
    return RESTART_STATUS if number == signal.SIGTERM else INTERRUPTED_STATUS


class Signals:
    """The signals that ask this process to end, from `open` to `restore`.

    `wait` gives them to a thread, one by one. In the main thread the first `quiet` of them do nothing, and
    each later one raises KeyboardInterrupt when it next runs Python. A signal that is ignored (a job in the
    background) stays so. Opened in another thread than the main one it hears nothing.
    """

    def __init__(self, quiet: int = 0):
        self._quiet, self._handled = quiet, 0
        self._before: dict[int, Any] = {}
        self._wakeup: int | None = None
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self.last: int | None = None  # the number of the last one

    def open(self) -> None:
        """Takes the place of the handlers that there are."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in _NUMBERS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)

    def wait(self, seconds: float | None) -> int | None:
        """The number of the next signal; None after `seconds`, and when `wake` was called."""
        ready, _, _ = select.select([self._reader], [], [], seconds)
        number = self._reader.recv(1)[0] if ready else None
        if number not in _NUMBERS:
            return None
        self.last = number
        return number

    def pass_on(self, number: int) -> None:
        """Gives a signal to the thread that would have heard it without us."""
        if self._wakeup is not None and self._wakeup >= 0:
            os.write(self._wakeup, bytes([number]))

    def wake(self) -> None:
        """Ends a `wait` of another thread."""
        self._writer.send(b"\0")

    def restore(self) -> None:
        """Puts the handlers of before back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._wakeup is not None:
            signal.set_wakeup_fd(self._wakeup)

    @property
    def is_open(self) -> bool:
        """Whether it was opened in the main thread."""
        return self._wakeup is not None

    def close(self) -> None:
        """Frees the sockets, once no thread waits any more."""
        self._reader.close()
        self._writer.close()

    def _handle(self, number: int, _: object) -> None:
        self.last, self._handled = number, self._handled + 1
        if self._handled > self._quiet:
            raise KeyboardInterrupt


class EndOnSignal:
    """A context in which SIGINT and SIGTERM end this program within seconds.

    The signal raises KeyboardInterrupt in the main thread. Where that thread waits for something else than
    Python (a compilation, the devices), the program ends all the same: what is finished lies on the disk.
    """

    def __init__(self, processes: Processes, command: str):
        self._processes, self._command = processes, command
        self._signals, self._closed = Signals(), threading.Event()
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)

    def __enter__(self) -> "EndOnSignal":
        self._signals.open()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._signals.restore()
        self._signals.wake()
        self._thread.join()
        self._signals.close()

    def outcome(self, error: KeyboardInterrupt | None = None) -> tuple[int, str]:
        """Exit status and message of a command that a signal has ended."""
        number = self._signals.last
        name = "told to end (SIGTERM)" if number == signal.SIGTERM else "interrupted"
        said = str(error or "") or f"{name}; what is finished is kept"
        return status_of(number), f"{said}; run it again to go on."

    def _listen(self) -> None:
        while not self._closed.is_set():
            if self._signals.wait(None) is not None and not self._closed.wait(GRACE_SECONDS):
                status, message = self.outcome()
                end_at_once(self._processes, status, f"emnat {self._command}: {message}")


def end_at_once(processes: Processes, status: int, message: str) -> None:
    """Ends this program from any thread, whatever the main thread is waiting for."""
    print(message, file=sys.stderr, flush=True)
    processes.leave(status, message)
    os._exit(status)
