"""Memory that a process keeps: where it is asked for, and that the system is not asked again."""

import contextlib
import ctypes
import subprocess
import sys

import pytest

from emnat_jax.cli.main import main
from emnat_jax.runtime.allocator import computes_on_cpu, keep_freed_memory

# A block of 64 MB is filled and freed again and again, in a thread that is not the first one.
PROGRAM = """
import resource, sys, threading
import numpy as np
from emnat_jax.runtime.allocator import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()

def work():
    global faults
    for turn in range(5):
        if turn == 1:
            faults = -resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        np.ones(2**26, np.uint8)
    faults += resource.getrusage(resource.RUSAGE_SELF).ru_minflt

thread = threading.Thread(target=work)
thread.start()
thread.join()
print(faults)
"""


def page_faults(how, monkeypatch):
    """Of four turns, after a first one."""
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True, timeout=60
    )
    return int(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not the C library of GNU")
def test_freed_memory_is_used_again(monkeypatch):
    kept, given_back = (page_faults(how, monkeypatch) for how in ("keep", "give back"))
    assert kept < 100 < given_back


@pytest.mark.parametrize(
    ("asked", "files", "on_cpu"),
    [
        ("cpu", ["nvidia0"], True),
        ("", [], True),
        ("", ["nvidiactl"], True),  # a driver without a GPU
        ("", ["nvidia0"], False),
        ("", ["accel0"], False),
        ("", ["vfio"], False),
        ("tpu,cpu", [], False),
        ("cuda", [], False),
    ],
)
def test_which_device_computes_is_known_before_jax_is_imported(monkeypatch, tmp_path, asked, files, on_cpu):
    monkeypatch.setenv("JAX_PLATFORMS", asked)
    for name in files:
        (tmp_path / name).touch()
    assert computes_on_cpu(tmp_path) == on_cpu


@pytest.mark.parametrize(
    ("name", "value"), [("MALLOC_ARENA_MAX", "4"), ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=1000000")]
)
def test_what_the_user_has_set_stays(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert not keep_freed_memory()


@pytest.mark.parametrize(
    ("cores", "given", "asks"), [(1, None, True), (2, None, False), (1, ["--version"], False)]
)
def test_the_command_keeps_memory_on_one_core_and_in_no_process_of_another(monkeypatch, cores, given, asks):
    asked = []
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setattr("emnat_jax.cli.main.available_cores", lambda: cores)
    monkeypatch.setattr("emnat_jax.cli.main.keep_freed_memory", lambda: asked.append(True))
    monkeypatch.setattr("sys.argv", ["emnat", "--version"])
    with contextlib.suppress(SystemExit):
        main(given)
    assert bool(asked) == asks
