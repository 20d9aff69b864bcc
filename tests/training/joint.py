"""Several processes on this machine, as one run."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence

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
