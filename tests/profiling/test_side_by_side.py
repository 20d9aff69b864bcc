"""Turns of systems, and the search for the best batch."""

import pytest

from emnat_jax.errors import UserError
from emnat_jax.profiling.side_by_side import best_size, interleaved
from tests.profiling.fakes import Clock


def test_systems_take_turns_call_by_call(monkeypatch):
    """What slows the machine for a while slows the neighbours' calls as well."""
    clock, made = Clock(monkeypatch), []

    def call(name, seconds):
        def run():
            made.append(name)
            clock.now += seconds

        return run

    systems = [[call(f"{name}{i}", seconds) for i in range(2)] for name, seconds in (("a", 1), ("b", 2))]
    assert interleaved(systems, 3) == [[1.0] * 4, [2.0] * 4]  # two passes: at least three calls each
    assert made == ["a0", "b0", "a1", "b1"] * 2


@pytest.mark.parametrize(
    ("rates", "largest", "best", "tried"),
    [
        ({8: 1.0, 16: 2.0, 32: 3.0, 64: 2.9}, 1000, 32, [8, 16, 32, 64]),  # the first that is worse ends it
        ({8: 1.0, 16: 1.01}, 1000, 8, [8, 16]),  # hardly better is no better
        ({8: 1.0, 16: 2.0, 32: 3.0, 64: 4.0}, 20, 32, [8, 16, 32]),  # all of the sample fit into 32
        ({8: 1.0}, 8, 8, [8]),
        ({8: 1.0, 16: 2.0}, 1000, 16, [8, 16]),  # no memory for 32
    ],
)
def test_sizes_are_doubled_until_it_gets_no_better(rates, largest, best, tried):
    notes = []

    def rate_of(size):
        if size not in rates:
            raise UserError("memory")
        return rates[size]

    found = best_size(rate_of, 8, largest, notes.append)
    assert (found.size, list(found.tried)) == (best, tried) and found.tried[best] == rates[best]
    assert bool(notes) == (largest > 2 * max(rates) and rates[max(rates)] == max(rates.values()) > 1.5)


def test_no_memory_for_the_smallest_is_an_error():
    def rate_of(size):
        raise UserError("memory")

    with pytest.raises(UserError, match="memory"):
        best_size(rate_of, 8, 100, print)
