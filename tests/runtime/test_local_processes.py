"""Processes on this machine that one of them starts."""

import pytest

from emnat_jax.errors import UserError
from emnat_jax.runtime import local_processes
from emnat_jax.runtime.local_processes import start_here
from emnat_jax.runtime.processes import Processes


@pytest.fixture
def started(monkeypatch):
    """What each process that is started would be told, and last how this one joins them; none is."""
    found = []
    for name in local_processes._SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")  # and what it was before, afterwards
    monkeypatch.setattr(local_processes, "start", lambda **how: found.append(how) or Processes())

    def popen(words, env, **_):
        found.append((words[1:], env["JAX_PLATFORMS"], [env[name] for name in local_processes._SETTINGS]))

    monkeypatch.setattr(local_processes.subprocess, "Popen", popen)
    return found


@pytest.mark.parametrize("workers", [["--workers=3"], ["--workers", "3"]])
def test_the_others_run_the_same_command_and_find_this_one(started, workers):
    start_here(3, ["prepare", *workers, "--workdir=w"])
    joined = started.pop()
    address = joined["coordinator"]
    words = ["-m", "emnat_jax", "prepare", "--workdir=w"]
    assert started == [(words, "cpu", [address, "3", str(index)]) for index in (1, 2)]
    assert joined == {"coordinator": address, "count": 3, "index": 0} and address.startswith("127.0.0.1:")


def test_one_starts_nobody(started):
    assert start_here(1, ["prepare", "--workers=1"]).count == 1 and not started


def test_processes_of_both_kinds_are_refused(started, monkeypatch):
    with pytest.raises(UserError, match="--workers=0: use 1 or more"):
        start_here(0, ["prepare"])
    for word in ("--coordinator=h:1", "--processes=2", "--process=0", "--on-all-hosts"):
        with pytest.raises(UserError, match=f"--workers=2 starts .*{word}"):
            start_here(2, ["prepare", word])
    monkeypatch.setenv("JAX_PROCESS_ID", "1")
    with pytest.raises(UserError, match="JAX_PROCESS_ID"):
        start_here(2, ["prepare"])
    assert not started
