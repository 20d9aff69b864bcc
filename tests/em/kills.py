"""Commands in processes of their own that a signal ends in the middle of a write."""

import os
import random
import signal
import sys
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from emnat_jax.errors import RESTART_STATUS
from tests.conftest import QUICK

CONFIG = Path(__file__).with_name("config_file.py")
ENDED = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: RESTART_STATUS}  # signal -> exit status
IMPORTED = ["tests.em.runs", "emnat_jax.em.driver", "emnat_jax.training.checkpoint", "emnat_jax.cli.main"]
HANGS_SECONDS = 300


class Kill(NamedTuple):
    """A signal in the middle of the `write`-th write of a file or checkpoint.

    Half of the calls are before the file has its name, half after; a checkpoint is being written behind its.
    """

    write: int
    number: signal.Signals = signal.SIGKILL


def kills(seed: int) -> Iterator[Kill]:
    """Endless random ones. One of four comes late: early ones alone would end an evaluation for ever.

    It begins again at each start, and writes twenty times.
    """
    chance = random.Random(seed)
    while True:
        write = chance.randint(20, 40) if chance.random() < 0.25 else chance.randint(2, 9)
        yield Kill(write, chance.choice((signal.SIGKILL, signal.SIGTERM)))


def emnat(words: list[str], log: Path, kill: Kill | None = None) -> int:
    """Exit status of a command in a process of its own with one device (negative: a signal's number)."""
    return in_child(_command, (words,), log, kill)


def in_child(function, arguments: tuple, log: Path, kill: Kill | None = None) -> int:
    """Exit status of a process that calls `function`; what it prints is added to `log`."""
    # Forked from a server that has imported everything and never touched a device: quick and safe.
    context = get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    child = context.Process(target=_child, args=(function, arguments, log, kill))
    child.start()
    child.join(timeout=HANGS_SECONDS)
    if child.exitcode is None:
        child.kill()
        raise AssertionError(f"{arguments} hangs; {log.read_text()}")
    return child.exitcode


def until_done(words: list[str], log: Path, chances: Iterator[Kill], lives: int = 60) -> list[Kill]:
    """Runs a command again and again until no signal ends it; the signals that did."""
    done = []
    for kill in chances:
        status = emnat(words, log, kill)
        if status == 0:
            return done
        assert status == ENDED[kill.number], (kill, status, log.read_text()[-2_000:])
        done.append(kill)
        assert len(done) < lives, f"{words} does not end"
    raise AssertionError("there is always another one")


def _command(words: list[str]) -> None:
    from emnat_jax.cli.main import main

    sys.exit(main(words))


def _child(function, arguments: tuple, log: Path, kill: Kill | None) -> None:
    os.environ["XLA_FLAGS"] = QUICK  # one device: cheaper to compile for than four
    log.parent.mkdir(parents=True, exist_ok=True)
    file = open(log, "a")  # noqa: SIM115 - until the process ends
    os.dup2(file.fileno(), sys.stdout.fileno())
    os.dup2(file.fileno(), sys.stderr.fileno())
    if kill is not None:
        _arm(kill)
    function(*arguments)


def _arm(kill: Kill) -> None:
    """Counts what the process writes, and ends it at one of these moments."""
    from etils import epath

    from emnat_jax.artifacts.resumable import _Resumable
    from emnat_jax.training.checkpoint import Checkpoints

    count = 0

    def tick() -> None:
        nonlocal count
        count += 1
        if count == kill.write:
            os.kill(os.getpid(), kill.number)

    def armed(function):
        def call(*args, **kwargs):
            tick()
            result = function(*args, **kwargs)
            tick()
            return result

        return call

    path_class = type(epath.Path("."))
    path_class.replace = armed(path_class.replace)  # the rename by which every file appears
    _Resumable._note = armed(_Resumable._note)  # after each part of a text
    _Resumable.finish = armed(_Resumable.finish)
    Checkpoints.save = armed(Checkpoints.save)  # the second tick falls into the save in the background
