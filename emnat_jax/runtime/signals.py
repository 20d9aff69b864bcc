"""The signals that ask a program to end: heard by a thread, as the main one may be waiting for the devices.

These are SIGTERM, SIGINT (Ctrl-C) and SIGHUP (the terminal, or the connection to it, is closed).
"""

import contextlib
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from emnat_jax.errors import INTERRUPTED_STATUS, RESTART_STATUS
from emnat_jax.runtime.messages import say

GRACE_SECONDS = 3.0  # for the main thread to end of itself
_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def status_of(number: int | None) -> int:
    """The exit status of a program that a signal ended."""
    return INTERRUPTED_STATUS if number in (None, signal.SIGINT) else RESTART_STATUS


class Signals:
    """The signals that ask this process to end, from `open` to `restore`.

    `wait` gives them to a thread, one by one. In the main thread the first `quiet` of them do nothing, and
    the next one raises KeyboardInterrupt when it next runs Python; more of them let that come to its end. A
    signal that is ignored (a job in the background, nohup) stays so. Opened in another thread than the main
    one it hears nothing.
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

    @contextlib.contextmanager
    def raising(self) -> Iterator[None]:
        """A context in which the first signal raises KeyboardInterrupt; at once, where it has come before."""
        quiet, self._quiet = self._quiet, 0
        try:
            if self._handled:
                raise KeyboardInterrupt
            yield
        finally:
            self._quiet = quiet

    def silence(self) -> None:
        """From now on no signal raises KeyboardInterrupt."""
        self._handled = self._quiet + 1

    def wake(self) -> None:
        """Ends a `wait` of another thread."""
        self._writer.send(b"\0")

    def end_with(self, status: int) -> None:
        """From now on, and after `restore` too, a signal ends this program at once: it is on its way out."""
        for number in self._before:
            signal.signal(number, lambda *_: os._exit(status))
        self._before = {}

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
        if self._handled == self._quiet + 1:
            raise KeyboardInterrupt


class Ending(NamedTuple):
    """How a command has ended."""

    status: int = 0  # of the program
    message: str = ""  # for stderr; none where it is empty


class EndOnSignal:
    """A context in which SIGINT, SIGTERM and SIGHUP end this program within seconds.

    The signal raises KeyboardInterrupt in the main thread. Where that thread waits for something else than
    Python (a compilation, the devices), the program ends all the same: what is finished lies on the disk.
    """

    def __init__(self, name: str):
        self._name = name  # of the program, in messages
        self._signals, self._closed = Signals(), threading.Event()
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        self._leave: Callable[[int, str], None] = lambda status, message: None

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

    def before_end(self, leave: Callable[[int, str], None]) -> None:
        """Calls `leave` with status and message before the program ends, whatever ends it."""
        self._leave = leave

    def run(self, command: Callable[[], Ending]) -> int:
        """The exit status of a command; says its message, or that a signal has ended it."""
        try:
            ending = self._ending(command)
        finally:
            self._signals.silence()
        if ending.message:
            say(f"{self._name}: {ending.message}")
        self._leave(*ending)
        return ending.status

    def end(self, status: int) -> None:
        """Ends this program, which is done, if a signal has asked for that; if not, one that comes now will.

        What is left to do, to free memory, takes long enough for a second signal to fall into it.
        """
        if self._signals.last is not None:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
            os._exit(status)
        self._signals.end_with(status)

    def _ending(self, command: Callable[[], Ending]) -> Ending:
        try:
            try:
                return command()
            except KeyboardInterrupt as error:
                return self._outcome(error)
        except KeyboardInterrupt as error:  # told again on the way here, which happens once
            return self._outcome(error)

    def _outcome(self, error: KeyboardInterrupt | None = None) -> Ending:
        """Of a command that a signal has ended."""
        number = self._signals.last
        name = "interrupted" if number in (None, signal.SIGINT) else f"told to end ({_name_of(number)})"
        said = str(error or "") or f"{name}; what is finished is kept"
        return Ending(status_of(number), f"{said}; run it again to go on.")

    def _listen(self) -> None:
        while not self._closed.is_set():
            if self._signals.wait(None) is not None and not self._closed.wait(GRACE_SECONDS):
                status, message = self._outcome()
                say(f"{self._name}: {message}")
                self._leave(status, message)
                os._exit(status)


def ignore() -> None:
    """From now on these signals do nothing."""
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_IGN)


def _name_of(number: int) -> str:
    return signal.Signals(number).name
