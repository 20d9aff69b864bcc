"""The platform's notice that this machine goes away: save, end, and let a restart go on."""

import os
import select
import signal
import socket
import threading
import time
import urllib.error
import urllib.request

from emnat_jax.runtime.processes import Processes

URL_VARIABLE = "EMNAT_PREEMPTION_URL"  # asked now and then; TRUE or TERMINATE... in the answer is a notice
_URL_SECONDS = 5.0
_LOOK_SECONDS = 0.5
_KEY = "preempted"


class PreemptionGuard:
    """Whether this run is to end early, and after which update: the same for all its processes.

    Use it as a context around the updates. In it SIGTERM, an answer of the URL in EMNAT_PREEMPTION_URL, or a
    notice to another process asks for the end. A thread listens, because the main one may be waiting for the
    devices; the run ends after the last update that any process has begun.
    """

    def __init__(self, processes: Processes, label: str):
        self._processes, self._label = processes, label
        self._condition = threading.Condition()
        self._begun, self._asked, self._last, self._obeyed = 0, False, None, False
        self._signals, self._wake = socket.socketpair()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="preemption", daemon=True)
        self._before, self._next_look = None, 0.0

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self._wake.setblocking(False)
            # The handler itself does nothing: the interpreter writes to the socket, whatever the main thread does.
            self._before = (
                signal.signal(signal.SIGTERM, lambda *_: None),
                signal.set_wakeup_fd(self._wake.fileno()),
            )
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        if self._before is not None:
            signal.set_wakeup_fd(self._before[1])
            signal.signal(signal.SIGTERM, self._before[0])
        self._closed.set()
        self._wake.send(b"\0")
        self._thread.join()
        if not self._asked:
            self._processes.answer(f"{_KEY}-{self._label}", self._begun)  # for whoever hears of it only now
        self._signals.close()
        self._wake.close()
        if self._asked and not self._obeyed and self._before is not None:
            os.kill(
                os.getpid(), signal.SIGTERM
            )  # it came too late for this training, and counts for what is next

    def ends_after(self, step: int) -> bool:
        """Whether update `step` was the last; if not, the next one counts as begun."""
        with self._condition:
            self._condition.wait_for(lambda: not self._asked or self._last is not None)
            if self._last is not None and step >= self._last:
                self._obeyed = True
                return True
            self._begun = step + 1
            return False

    def _listen(self) -> None:
        while not self._closed.is_set():
            if self._signalled() or self._processes.heard(_KEY) or self._platform_says_so():
                self._processes.tell(_KEY, self._label)
                self._settle()
                return

    def _platform_says_so(self) -> bool:
        """Asks the URL when it is time to."""
        now = time.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + _URL_SECONDS
        return _url_says_so()

    def _signalled(self) -> bool:
        ready, _, _ = select.select([self._signals], [], [], _LOOK_SECONDS)
        return bool(ready) and signal.SIGTERM in self._signals.recv(64)

    def _settle(self) -> None:
        """Agrees on the last update: nobody begins one until all have said which they have begun."""
        with self._condition:
            self._asked = True
            begun = self._begun
        last = max(self._processes.exchange(f"{_KEY}-{self._label}", begun))
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
