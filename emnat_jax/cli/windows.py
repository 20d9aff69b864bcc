"""The lines of an input, a window at a time: of a file as many as fit, of a pipe those that have arrived."""

import contextlib
import itertools
import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

from emnat_jax.errors import UserError

PAUSE_SECONDS = 0.01  # without a new line for so long, what has arrived is worked on
_Item = TypeVar("_Item")


class Windows(Generic[_Item]):
    """Takes from `items`, in order, with at most two windows of `size` in memory.

    `pauses`: the items come from a pipe or a terminal. A thread then reads them, so that a window ends
    where the input pauses; it goes on reading while one is worked on. A UserError of the input is raised
    after the items before it.
    """

    def __init__(self, items: Iterator[_Item], size: int, *, pauses: bool):
        self._size = size
        self._arrived = _Arrived(items, size) if pauses else None
        self._items = items if self._arrived is None else self._arrived
        self._back: list[_Item] = []
        self._failed: UserError | None = None

    def take(self, count: int) -> list[_Item]:
        """The next `count` items, fewer at the end of the input."""
        found, self._back = self._back[:count], self._back[count:]
        return found + self._collect(itertools.islice(self._items, count - len(found)), bool(found))

    def put_back(self, items: list[_Item]) -> None:
        """Undoes a `take`."""
        self._back = items + self._back

    def next(self) -> list[_Item]:
        """The next window; empty at the end of the input."""
        if self._back:
            return self.take(min(self._size, len(self._back)))
        if self._arrived is None:
            return self.take(self._size)
        first = self.take(1)
        here = itertools.islice(self._arrived.until_pause(), self._size - 1) if first else iter(())
        return first + self._collect(here, True)

    def _collect(self, items: Iterator[_Item], has_some: bool) -> list[_Item]:
        """What comes before an error, which the next call raises; this one where there is nothing."""
        if self._failed is not None:
            if has_some:
                return []
            raise self._failed
        found = []
        try:
            for item in items:
                found.append(item)
        except UserError as error:
            if not found and not has_some:
                raise
            self._failed = error
        return found


class _Arrived(Iterator[_Item]):
    """What a thread takes from `items`: at most `size` ahead of who asks."""

    def __init__(self, items: Iterator[_Item], size: int):
        self._queue: queue.Queue[tuple[bool, _Item | BaseException | None]] = queue.Queue(size)
        self._has_ended = False
        threading.Thread(target=self._read, args=(items,), name="input", daemon=True).start()

    def _read(self, items: Iterator[_Item]) -> None:
        try:
            for item in items:
                self._queue.put((True, item))
            self._queue.put((False, None))
        except BaseException as error:  # noqa: BLE001 - raised again where the item is asked for
            self._queue.put((False, error))

    def __next__(self) -> _Item:
        return self._get(None)

    def until_pause(self) -> Iterator[_Item]:
        """What is there, until nothing more comes for a moment."""
        with contextlib.suppress(queue.Empty):
            while not self._has_ended:
                try:
                    yield self._get(PAUSE_SECONDS)
                except StopIteration:
                    return

    def _get(self, seconds: float | None) -> _Item:
        if self._has_ended:
            raise StopIteration
        is_item, item = self._queue.get(timeout=seconds)
        if is_item:
            return item  # type: ignore[return-value]
        self._has_ended = True
        if isinstance(item, BaseException):
            raise item
        raise StopIteration
