"""Systems timed in turns, so that whatever else the machine does slows all of them alike."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from emnat_jax.errors import UserError

Call = Callable[[], Any]
LEAST_GAIN = 0.02  # of the rate, with which a larger batch counts as better


class Timed(NamedTuple):
    """A call that has returned."""

    seconds: float
    result: Any


def timed(call: Call) -> Timed:
    """Makes the call."""
    begin = time.perf_counter()
    result = call()
    return Timed(time.perf_counter() - begin, result)


def interleaved(systems: Sequence[Sequence[Call]], least: int) -> list[list[float]]:
    """Seconds of the calls of each system: the first call of A, of B, of C, the second of A, of B, ...

    All systems have as many calls; they are repeated until each has made at least `least`.
    """
    seconds: list[list[float]] = [[] for _ in systems]
    for calls in _in_turn(systems, least):
        for of_system, call in zip(seconds, calls, strict=True):
            of_system.append(timed(call).seconds)
    return seconds


def _in_turn(systems: Sequence[Sequence[Call]], least: int) -> Iterator[tuple[Call, ...]]:
    turns = list(zip(*systems, strict=True))
    for _ in range(-(-least // len(turns))):
        yield from turns


class Best(NamedTuple):
    """What a search for the best size of a batch has found."""

    size: int
    tried: dict[int, float]  # size -> rate


def best_size(
    rate_of: Callable[[int], float], smallest: int, largest: int, note: Callable[[str], None]
) -> Best:
    """The size with which the rate is best: doubled from `smallest` until it gets no better.

    The last that is tried is the first of at least `largest`. The search ends as well at a size for which
    there is no memory (UserError), unless it is the smallest.
    """
    best, tried = smallest, {smallest: rate_of(smallest)}
    while best < largest:
        size = 2 * best
        try:
            tried[size] = rate_of(size)
        except UserError as error:
            note(f"no batches of {size}: {error}")
            break
        if tried[size] < (1 + LEAST_GAIN) * tried[best]:
            break
        best = size
    return Best(best, tried)
