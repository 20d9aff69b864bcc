"""Event loops for libraries that close theirs while answers are still to come."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any


class _Patient(asyncio.SelectorEventLoop):
    """A loop that takes no notice of what other threads tell it after it was closed.

    When one of many reads fails, orbax closes its loop at once; each of the others would then print a
    traceback of its own around the message that matters.
    """

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.Handle:
        """As asyncio's; the handle of nothing once the loop is closed."""
        try:
            return super().call_soon_threadsafe(callback, *args, context=context)
        except RuntimeError:
            if not self.is_closed():
                raise
            return asyncio.Handle(callback, args, self, context)


class _Policy(asyncio.DefaultEventLoopPolicy):
    """Makes such loops."""

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """A loop that is not running yet."""
        return _Patient()


@contextlib.contextmanager
def patient_loops() -> Iterator[None]:
    """A context in which new event loops take no notice of what comes too late."""
    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(_Policy())
    try:
        yield
    finally:
        asyncio.set_event_loop_policy(before)
