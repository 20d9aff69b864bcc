"""Lines in windows: of a file as many as fit, of a pipe what has arrived."""

import itertools
import queue
import threading

import pytest

from emnat_jax.cli.windows import Windows
from emnat_jax.errors import UserError


def all_windows(windows: Windows) -> list[list]:
    return list(iter(windows.next, []))


def flat(found: list[list]) -> list:
    return list(itertools.chain.from_iterable(found))


def failing(count: int):
    """Items that end in a mistake of the input."""
    yield from map(str, range(count))
    raise UserError("line is not UTF-8")


@pytest.mark.parametrize("pauses", [False, True])
def test_every_item_comes_once_in_order(pauses):
    windows = Windows(map(str, range(10)), 4, pauses=pauses)
    found = all_windows(windows)
    assert flat(found) == list(map(str, range(10))) and max(map(len, found)) <= 4
    assert windows.next() == []
    if not pauses:
        assert list(map(len, found)) == [4, 4, 2]


@pytest.mark.parametrize("pauses", [False, True])
def test_what_is_put_back_comes_again(pauses):
    windows = Windows(map(str, range(6)), 4, pauses=pauses)
    first = windows.take(3)
    windows.put_back(first)
    assert windows.take(2) == first[:2]
    assert flat(all_windows(windows)) == ["2", "3", "4", "5"]
    assert windows.take(3) == []


@pytest.mark.parametrize("pauses", [False, True])
def test_what_comes_before_a_mistake_is_not_lost(pauses):
    windows = Windows(failing(5), 3, pauses=pauses)
    found: list[str] = []
    with pytest.raises(UserError, match="not UTF-8"):
        for window in iter(windows.next, []):
            found += window
    assert found == list("01234")
    with pytest.raises(UserError, match="not UTF-8"):
        Windows(failing(0), 3, pauses=pauses).next()


def test_a_window_ends_where_the_input_pauses():
    """The next line is written only when the one before has come out."""
    source: queue.Queue[str] = queue.Queue()
    windows = Windows(iter(source.get, "end"), 100, pauses=True)
    for text in ("eins", "zwei"):
        source.put(text)
        assert windows.next() == [text]
    for text in ("drei", "vier", "end"):
        source.put(text)
    assert flat(all_windows(windows)) == ["drei", "vier"]


@pytest.mark.parametrize("pauses", [False, True])
def test_little_is_read_ahead(pauses):
    taken = []
    enough = threading.Event()

    def endless():
        for number in range(1000):
            taken.append(number)
            if number == 7:
                enough.set()
            yield str(number)

    windows = Windows(endless(), 4, pauses=pauses)
    windows.next()
    windows.next()
    assert enough.wait(10)
    assert len(taken) <= 4 * 4
