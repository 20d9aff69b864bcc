"""Several processes on this machine, as one run."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import QUICK


def launch(count: int, devices: int, command: Sequence[str]) -> list[subprocess.Popen]:
    """`count` processes of `python -m COMMAND` with so many devices each, which find each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    shared = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {QUICK}",
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": str(count),
    }
    return [
        subprocess.Popen(
            [sys.executable, "-m", *command],
            env=shared | {"JAX_PROCESS_ID": str(index)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(count)
    ]


def outputs(processes: Sequence[subprocess.Popen], seconds: float = 240) -> list[tuple[int, str]]:
    """Exit status and output of each; kills all that are left after `seconds`."""
    try:
        texts = [process.communicate(timeout=seconds)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, text) for process, text in zip(processes, texts, strict=True)]


def wait_for_line(path: Path, processes: Sequence[subprocess.Popen]) -> None:
    """Returns when a run has logged its first updates."""
    while not path.exists() or not path.read_text():
        time.sleep(0.5)
        assert all(process.poll() is None for process in processes), "a process ended early"
