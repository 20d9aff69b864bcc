"""Batches made in the background, ahead of the devices."""

import collections
from concurrent.futures import Future, ThreadPoolExecutor

from emnat_jax.data.batches import BatchStream
from emnat_jax.types import Batch

AHEAD = 16  # batches that wait at most


class ReadAhead:
    """The stream, whose next batches one thread makes while the last one is learned from.

    The position is that of the next batch that is handed out, however many are ready, so that a resumed run
    goes on where it stopped. An error of the stream is raised where its batch was to come.
    """

    def __init__(self, stream: BatchStream, ahead: int = AHEAD):
        self._stream, self._ahead = stream, ahead
        self.examples = stream.examples
        self._thread = ThreadPoolExecutor(1)
        self._waiting: collections.deque[Future[tuple[Batch, dict[str, int]]]] = collections.deque()
        self._state = stream.state()

    def __iter__(self) -> "ReadAhead":
        return self

    def __next__(self) -> Batch:
        while len(self._waiting) < self._ahead:
            self._waiting.append(self._thread.submit(self._draw))
        batch, self._state = self._waiting.popleft().result()
        return batch

    def state(self) -> dict[str, int]:
        """The position of the next batch."""
        return self._state

    def restore(self, state: dict[str, int]) -> None:
        """Goes to a position that `state` gave, in place of what is ready."""
        while self._waiting:
            waiting = self._waiting.pop()
            waiting.cancel() or waiting.exception()  # the stream is this thread's only when all have ended
        self._stream.restore(state)
        self._state = self._stream.state()

    def close(self) -> None:
        """Ends the thread; no batch comes afterwards."""
        self._thread.shutdown(cancel_futures=True)

    def _draw(self) -> tuple[Batch, dict[str, int]]:
        batch = next(self._stream)
        return batch, self._stream.state()
