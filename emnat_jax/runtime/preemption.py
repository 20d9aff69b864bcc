"""Preemption: when the platform takes this machine away, all processes save after the same step and end."""

import os
import select
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from typing import Any

from emnat_jax.runtime.processes import Processes

URL_VARIABLE = "EMNAT_PREEMPTION_URL"  # polled; an answer of TRUE or TERMINATE... is a notice
_URL_SECONDS = 5.0
_POLL_SECONDS = 0.5
_KEY = "preempted"


class PreemptionGuard:
    """Whether this run must end early, and after which training step: the same for all its processes.

    Use it as a context around the training steps. In it the run is preempted by SIGTERM, by an answer of
    the URL in EMNAT_PREEMPTION_URL, or by a notice to another process. A thread listens, because the main
    thread may be waiting for the devices. The run ends after the last step that any process has begun.
    """

    def __init__(self, processes: Processes, name: str):
        self._processes, self._name = processes, name
        self._condition = threading.Condition()
        self._begun, self._asked, self._last, self._obeyed = 0, False, None, False
        self._signals, self._wake = socket.socketpair()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="preemption", daemon=True)
        self._before: tuple[Any, int] | None = None  # handler and wake-up descriptor
        self._next_request = 0.0

    def __enter__(self) -> "PreemptionGuard":
        if threading.current_thread() is threading.main_thread():
            self._wake.setblocking(False)
            # The handler does nothing: the interpreter itself writes to the socket.
            self._before = (
                signal.signal(signal.SIGTERM, lambda *_: None),
                signal.set_wakeup_fd(self._wake.fileno()),
            )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.set_wakeup_fd(self._before[1])
            signal.signal(signal.SIGTERM, self._before[0])
        self._closed.set()
        self._wake.send(b"\0")
        self._thread.join()
        if not self._asked:
            # For a process that is told only now, and waits for what all others have begun.
            self._processes.publish(f"{_KEY}-{self._name}", self._begun)
        self._signals.close()
        self._wake.close()
        if self._asked and not self._obeyed and self._before is not None:
            # The notice came after the last step of this training: it counts for what runs next.
            os.kill(os.getpid(), signal.SIGTERM)

    def ends_after(self, step: int) -> bool:
        """Whether step `step` was the last one; if not, the next one counts as begun."""
        with self._condition:
            self._condition.wait_for(lambda: not self._asked or self._last is not None)
            if self._last is not None and step >= self._last:
                self._obeyed = True
                return True
            self._begun = step + 1
            return False

    def _listen(self) -> None:
        while not self._closed.is_set():
            if self._signalled() or self._processes.flag_is_set(_KEY) or self._platform_says_so():
                self._processes.set_flag(_KEY, self._name)
                self._agree_on_last_step()
                return

    def _platform_says_so(self) -> bool:
        """Whether the URL announces the end; asked every few seconds only."""
        now = time.monotonic()
        if now < self._next_request:
            return False
        self._next_request = now + _URL_SECONDS
        return _url_says_so()

    def _signalled(self) -> bool:
        ready, _, _ = select.select([self._signals], [], [], _POLL_SECONDS)
        return bool(ready) and signal.SIGTERM in self._signals.recv(64)

    def _agree_on_last_step(self) -> None:
        """The last step is the latest that any process has begun; none begins another meanwhile."""
        with self._condition:
            self._asked = True
            begun = self._begun
        last = max(self._processes.exchange(f"{_KEY}-{self._name}", begun))
        with self._condition:
            self._last = last
            self._condition.notify_all()


def _url_says_so() -> bool:
    url = os.environ.get(URL_VARIABLE)
    if not url:
        return False
    request = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
    try:
        with urllib.request.urlopen(request, timeout=2.0) as answer:
            text = answer.read(100).decode(errors="replace").strip().upper()
    except (urllib.error.URLError, OSError):
        return False  # no answer is no notice
    return text == "TRUE" or text.startswith("TERMINATE")
