"""The processes of a run that all work on this machine, started by the first of them."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence

from emnat_jax.errors import require
from emnat_jax.runtime.processes import Processes, start

_SETTINGS = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


def start_here(count: int, command: Sequence[str]) -> Processes:
    """This process as the first of `count`; the others run the same `emnat` command.

    For work without devices: all of them compute on the CPU. They end when this one does, however that ends.
    UserError where the run already has processes elsewhere.
    """
    require(count > 0, f"--workers={count}: use 1 or more.")
    if count == 1:
        return Processes()
    given = [name for name in _SETTINGS if name in os.environ]
    given += [word for word in command if word.startswith(("--coordinator", "--process", "--on-all-hosts"))]
    require(
        not given,
        f"--workers={count} starts processes on this machine, {', '.join(given)} joins some that are started "
        "by hand; give one or the other.",
    )
    address, environment = _free_address(), os.environ | {"JAX_PLATFORMS": "cpu"}
    for index in range(1, count):
        own = dict(zip(_SETTINGS, (address, str(count), str(index)), strict=True))
        words = [sys.executable, "-m", "emnat_jax", *_without_workers(command)]
        # What they have to say the first one says too.
        subprocess.Popen(words, env=environment | own, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.environ["JAX_PLATFORMS"] = "cpu"
    return start(coordinator=address, count=count, index=0)


def _without_workers(command: Sequence[str]) -> list[str]:
    words, rest = [], iter(command)
    for word in rest:
        if word == "--workers":
            next(rest)
        elif not word.startswith("--workers="):
            words.append(word)
    return words


def _free_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"
