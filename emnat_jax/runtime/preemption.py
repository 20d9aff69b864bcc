"""Preemption: when the platform takes this machine away, all processes save after the same step and end."""

import contextlib
import http.client
import os
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator

from emnat_jax.errors import Interrupted, Preempted, require
from emnat_jax.runtime.processes import Processes
from emnat_jax.runtime.progress import Log
from emnat_jax.runtime.signals import Signals

URL_VARIABLE = "EMNAT_PREEMPTION_URL"  # polled; an answer of TRUE or TERMINATE... is a notice
_URL_SECONDS = 5.0
_POLL_SECONDS = 0.5
_KEY = "preempted"


class EndAtOnce(Exception):
    """Told to end where nothing is lost by it."""


class PreemptionGuard:
    """Whether this run must end early, and after which training step: the same for all its processes.

    Use it as a context around the training steps; all processes make it together. In it the run is preempted
    by SIGTERM, SIGHUP or SIGINT (Ctrl-C), by an answer of the URL in EMNAT_PREEMPTION_URL, or by a notice to
    another process. A thread listens, because the main thread may be waiting for the devices. The run ends
    after the last step that any process has begun. A second signal does not wait for that: it raises
    KeyboardInterrupt. Nor does the first one wait for the very first step, which may take minutes to compile
    and has nothing before it to be saved: then it counts as if there were no guard.
    """

    def __init__(self, processes: Processes, name: str, log: Log = lambda text: None):
        self._processes, self._name, self._log = processes, name, log
        self._key = processes.new_key(f"{_KEY}-{name}")  # a sweep has many trainings of one name
        self._condition = threading.Condition()
        self._first: int | None = None  # finished before this training
        self._begun, self._asked, self._last, self._obeyed = 0, False, None, False
        self._signals, self._signal = Signals(quiet=1), signal.SIGTERM
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="preemption", daemon=True)
        self._url, self._next_request = _notice_url(), 0.0

    def __enter__(self) -> "PreemptionGuard":
        self._signals.open()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._signals.restore()
        self._closed.set()
        self._signals.wake()
        self._thread.join()
        if not self._asked:
            # For a process that is told only now, and waits for what all others have begun.
            self._processes.publish(self._key, self._begun)
        self._signals.close()
        if self._asked and not self._obeyed and kind is None and self._signals.is_open:
            # The notice came after the last step of this training: it counts for what runs next.
            os.kill(os.getpid(), self._signal)

    def ends_after(self, step: int) -> bool:
        """Whether step `step` was the last one; if not, the next one counts as begun."""
        with self._condition:
            self._first = step if self._first is None else self._first
            self._condition.wait_for(lambda: not self._asked or self._last is not None)
            if self._last is not None and step >= self._last:
                self._obeyed = True
                return True
            self._begun = step + 1
            return False

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """A context that a signal leaves at once, with EndAtOnce: for what can be begun anew between steps.

        Several processes go on to its end, as each may wait for the others in it.
        """
        if self._processes.count > 1:
            yield
            return
        try:
            with self._signals.raising():
                yield
        except KeyboardInterrupt as error:
            if self._signals.last is None:
                raise
            self._obeyed, self._signal = True, signal.Signals(self._signals.last)
            raise EndAtOnce from error

    def end(self, message: str) -> Preempted | Interrupted:
        """What a run that has obeyed raises."""
        return Interrupted(message) if self._signal == signal.SIGINT else Preempted(message)

    def _listen(self) -> None:
        while not self._closed.is_set():
            number = self._signals.wait(_POLL_SECONDS)
            if self._asked:
                if number is not None:
                    self._signals.pass_on(number)
            elif number is not None or self._processes.flag_is_set(_KEY) or self._platform_says_so():
                self._signal = signal.SIGTERM if number is None else signal.Signals(number)
                self._processes.set_flag(_KEY, self._name)
                self._agree_on_last_step()
                if self._has_nothing_to_save():
                    self._log(f"{self._name}: told to end; ends")
                    self._signals.pass_on(self._signal)
                else:
                    self._log(
                        f"{self._name}: told to end; saves after this step and ends; told again, ends at once"
                    )

    def _has_nothing_to_save(self) -> bool:
        """Whether no process has begun more than the first step."""
        with self._condition:
            return self._first is not None and self._last == self._first + 1

    def _platform_says_so(self) -> bool:
        """Whether the URL announces the end; asked every few seconds only."""
        now = time.monotonic()
        if now < self._next_request:
            return False
        self._next_request = now + _URL_SECONDS
        return self._url is not None and _says_so(self._url)

    def _agree_on_last_step(self) -> None:
        """The last step is the latest that any process has begun; none begins another meanwhile."""
        with self._condition:
            self._asked = True
            begun = self._begun
        last = max(self._processes.exchange(self._key, begun))
        with self._condition:
            self._last = last
            self._condition.notify_all()


def _notice_url() -> str | None:
    """The address to ask, where one is set; UserError for what is none."""
    url = os.environ.get(URL_VARIABLE)
    require(
        not url or url.startswith(("http://", "https://")),
        f"{URL_VARIABLE}={url}: give an address that begins with http://, or unset it.",
    )
    return url or None


def _says_so(url: str) -> bool:
    request = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
    try:
        with urllib.request.urlopen(request, timeout=2.0) as answer:
            text = answer.read(100).decode(errors="replace").strip().upper()
    except (OSError, ValueError, http.client.HTTPException):
        return False  # no answer is no notice
    return text == "TRUE" or text.startswith("TERMINATE")
