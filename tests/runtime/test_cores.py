"""Cores of this process: fewer of them, and what they are called."""

import os

import pytest

from emnat_jax.errors import UserError
from emnat_jax.runtime import cores


@pytest.fixture
def bound(monkeypatch):
    """The calls that would change the cores of this process, which may use 2, 5 and 7."""
    calls = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {5, 2, 7}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda *call: calls.append(call), raising=False)
    return calls


def test_a_process_is_kept_on_some_of_its_own_cores(bound):
    cores.bind_to_cores(2)
    assert bound == [(0, [2, 5])] and cores.available_cores() == 3


@pytest.mark.parametrize(("count", "says"), [(0, "1 or more"), (4, "may use: 3; use no more")])
def test_no_more_than_there_are(bound, count, says):
    with pytest.raises(UserError, match=f"--threads={count}: .*{says}"):
        cores.bind_to_cores(count)
    assert bound == []


def test_a_system_that_cannot_says_so(monkeypatch):
    for name in ("sched_getaffinity", "sched_setaffinity"):
        monkeypatch.delattr(os, name, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert cores.available_cores() == 6
    with pytest.raises(UserError, match="--threads=1: this system cannot"):
        cores.bind_to_cores(1)


def test_the_processor_is_named_as_the_system_has_it(monkeypatch, tmp_path):
    monkeypatch.setattr(cores, "CPUINFO", tmp_path / "cpuinfo")
    assert cores.cpu_model() is None
    (tmp_path / "cpuinfo").write_text(
        "processor\t: 0\nmodel name\t: Fast: 2\n\nprocessor\t: 1\nmodel name\t: x\n"
    )
    assert cores.cpu_model() == "Fast: 2"
    (tmp_path / "cpuinfo").write_text("processor\t: 0\n")
    assert cores.cpu_model() is None
