"""The watchdog: ends this process when another one of the run is lost, instead of waiting for it for ever."""

import contextlib
import itertools
import json
import os
import threading
import time
from typing import Any, NoReturn, Protocol, runtime_checkable

from emnat_jax.errors import RESTART_STATUS
from emnat_jax.runtime.messages import say

BEAT_SECONDS = 1.0
TIMEOUT_SECONDS = 30.0  # without a heartbeat a process counts as lost
LONG_SECONDS = 300.0  # in one stage; worth a line


@runtime_checkable
class Store(Protocol):
    """Texts under names, the same for all processes."""

    def set(self, name: str, text: str) -> None: ...

    def get(self, name: str, seconds: float) -> str | None:
        """The text once it is there; None when it is not within `seconds`."""

    def all(self, folder: str) -> dict[str, str]:
        """Last part of the name -> text, of all names FOLDER/..."""


class Watchdog:
    """A thread that writes heartbeats to the store, and ends this process when those of another one stop.

    A thread, because the main one may be inside a collective operation that will never return.
    """

    def __init__(self, index: int, count: int, store: Store, host: str):
        self._index, self._store, self._host = index, store, host
        self._stage, self._since = "start", time.monotonic()
        now = time.monotonic()
        # Of each process its last heartbeat, and when it came.
        self._seen: dict[int, tuple[dict[str, Any], float]] = {process: ({}, now) for process in range(count)}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stopped.set()
        self._thread.join()

    def enter(self, stage: str) -> None:
        """Notes which stage this process is in."""
        self._stage, self._since = stage, time.monotonic()

    def fail(self, status: int, message: str) -> None:
        """Tells the others why this process ends, and gives them time to read it."""
        self.stop()
        about = {"host": self._host, "stage": self._stage, "message": message, "status": status}
        self._store.set(f"failed/{self._index}", json.dumps(about))
        self._let_others_read()

    def print_line(self, text: str) -> None:
        """Prints a line on stderr."""
        say(f"[process {self._index}] {text}")

    def name(self, process: int) -> str:
        """How messages name another process: its number, host and stage."""
        beat = self._seen[process][0]
        return f"process {process}" + (f" (host {beat['host']}, in {beat['stage']!r})" if beat else "")

    def _run(self) -> None:
        for number in itertools.count():
            try:
                beat = {"host": self._host, "stage": self._stage, "beat": number}
                self._store.set(f"alive/{self._index}", json.dumps(beat))
                beats, failed = self._store.all("alive"), self._store.all("failed")
            except Exception as error:  # noqa: BLE001 - whatever the runtime raises, the store is gone
                self._end(f"the first process is gone: {str(error).splitlines()[0]}", RESTART_STATUS)
            self._check(beats, failed)
            if self._stopped.wait(BEAT_SECONDS):
                return

    def _check(self, beats: dict[str, str], failed: dict[str, str]) -> None:
        """Ends this process when another has failed or is lost; prints a line when it is stuck itself."""
        for number, text in failed.items():
            about = json.loads(text)
            self._seen[int(number)] = (about, 0.0)
            self._end(f"{self.name(int(number))} ended: {about['message'].rstrip('.')}", about["status"])
        now = time.monotonic()
        for number, text in beats.items():
            beat = json.loads(text)
            if self._seen[int(number)][0] != beat:
                self._seen[int(number)] = (beat, now)
        for process, (_, when) in self._seen.items():
            if now - when > TIMEOUT_SECONDS:
                reason = f"{self.name(process)} has given no sign of life for {now - when:.0f} s"
                self._end(reason, RESTART_STATUS)
        if now - self._since > LONG_SECONDS:
            self._since = now
            others = ", ".join(self.name(process) for process in self._seen if process != self._index)
            self.print_line(f"is in {self._stage!r} since {LONG_SECONDS:.0f} s or more; {others}")

    def _end(self, reason: str, status: int) -> NoReturn:
        """Ends this process at once: its main thread may never come back from the devices."""
        self.print_line(
            f"{reason}. This process, in {self._stage!r}, ends too; what was finished is kept. Run the "
            "same command on all hosts to go on."
        )
        with contextlib.suppress(Exception):  # whatever the runtime raises, the store is gone
            self._store.set(f"gone/{self._index}", "")
            self._let_others_read()
        os._exit(status)

    def _let_others_read(self) -> None:
        """Waits in the first process, with which the store ends, until the others have read why."""
        others = set(map(str, self._seen)) - {str(self._index)}
        for _ in range(20 if self._index == 0 else 0):
            if others <= self._store.all("gone").keys() | self._store.all("failed").keys():
                return
            time.sleep(BEAT_SECONDS / 10)
