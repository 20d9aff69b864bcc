"""Several processes on this machine, as one run."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import QUICK


class Process(subprocess.Popen):
    """A process whose output is kept in a file: a pipe that nobody reads would stop it when it is full."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]):
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - for the life of the process
        super().__init__(command, env=environment, stdout=self._output, stderr=subprocess.STDOUT)

    def text(self) -> str:
        """What it has printed so far."""
        descriptor = self._output.fileno()
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode()


def launch(count: int, devices: int, command: Sequence[str]) -> list[Process]:
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
        Process([sys.executable, "-m", *command], shared | {"JAX_PROCESS_ID": str(index)})
        for index in range(count)
    ]


def outputs(processes: Sequence[Process], seconds: float = 240) -> list[tuple[int, str]]:
    """Exit status and output of each; kills all that are left after `seconds`."""
    try:
        for process in processes:
            process.wait(timeout=seconds)
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, process.text()) for process in processes]


def wait_for_line(path: Path, processes: Sequence[Process]) -> None:
    """Returns when a run has logged its first updates."""
    while not path.exists() or not path.read_text():
        time.sleep(0.5)
        assert all(process.poll() is None for process in processes), "a process ended early"
