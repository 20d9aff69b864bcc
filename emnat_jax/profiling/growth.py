"""How time and memory of each stage grow: what is measured where. Each place is a process of its own.

This process knows no JAX, so that a device is the measured one's alone.
"""

import dataclasses
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from emnat_jax.errors import UserError, require
from emnat_jax.report.convert import dumps, loads
from emnat_jax.report.growth import Cost, Growth, Place, Series, series
from emnat_jax.report.timings import Machine

QUANTITIES = tuple(field.name for field in dataclasses.fields(Place))
_STEP = ("length", "batch", "vocab")
STAGES: Mapping[str, tuple[str, ...]] = {  # name -> what its cost depends on
    "prepare": ("sentences", "length", "vocab"),
    "read": ("sentences", "length"),
    "read-epoch": ("sentences", "length"),
    "train-teacher": _STEP,
    "train-student": _STEP,
    "one-pass": _STEP,
    "greedy": _STEP,
    "beam": ("length", "batch", "candidates", "vocab"),
    "n-best": ("sentences", "candidates"),
    "score": ("sentences", "candidates"),
    "select": ("sentences", "candidates"),
    "select-drift": ("sentences", "candidates"),
    "evaluate": ("sentences", "length"),
}
TASK, MEASURED = "task.json", "measured.json"  # in the folder of a child: what it does, what it found
# Settings of the allocator that keep freed memory would hide what a run takes.
_NOT_INHERITED = ("GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "LD_PRELOAD")


@dataclasses.dataclass(frozen=True)
class Models:
    """What the models and data sets of all places have in common."""

    size: str  # a key of config.model.SIZES
    family: str  # of the student
    shard_rows: int  # sentences of a record file


@dataclasses.dataclass(frozen=True)
class Task:
    """What one child measures."""

    stage: str
    place: Place
    models: Models


@dataclasses.dataclass(frozen=True)
class Measured:
    """What it found."""

    cost: Cost
    machine: Machine


class Plan(NamedTuple):
    """Which stages are measured at which places."""

    models: Models
    base: Place
    points: int  # of each series: the base, twice the base, ...
    lines: Sequence[tuple[str, str]]  # (stage, quantity) of each series

    def values(self, quantity: str) -> list[int]:
        """Those of a series, doubled from one to the next."""
        return [getattr(self.base, quantity) * 2**power for power in range(self.points)]

    def task(self, stage: str, quantity: str, value: int) -> Task:
        """At the base, but for the value of one quantity."""
        return Task(stage, dataclasses.replace(self.base, **{quantity: value}), self.models)

    def tasks(self) -> list[Task]:
        """Everything to be measured; the base, which all series of a stage have, once for each stage."""
        found = [
            self.task(stage, quantity, value)
            for stage, quantity in self.lines
            for value in self.values(quantity)
        ]
        return list(dict.fromkeys(found))


def lines_of(stages: Sequence[str], quantities: Sequence[str]) -> list[tuple[str, str]]:
    """The series of these stages and quantities. UserError for unknown names, and where there is none."""
    for option, given, known in (("stages", stages, STAGES), ("vary", quantities, QUANTITIES)):
        unknown = [name for name in given if name not in known]
        require(not unknown, f"--{option}: {', '.join(unknown)}: give some of {', '.join(known)}.")
        require(len(set(given)) == len(given), f"--{option}={','.join(given)}: name each once.")
    found = [(stage, name) for stage in stages for name in STAGES[stage] if name in quantities]
    for stage in stages:
        require(
            any(line[0] == stage for line in found),
            f"--vary={','.join(quantities)}: {stage} depends on {', '.join(STAGES[stage])} alone; leave it "
            "out of --stages, or add one of these.",
        )
    return found


def measure_growth(
    plan: Plan, command: Sequence[str], note: Callable[[str], None] = lambda text: None
) -> Growth:
    """Measures all places one after the other. `command` runs a child, which gets its folder as argument.

    A place that fails is noted and left out. UserError where no series has two that could be measured.
    """
    found: dict[Task, Measured] = {}
    failed: list[str] = []
    tasks = plan.tasks()
    for number, task in enumerate(tasks, 1):
        try:
            found[task] = _in_child(task, command)
            note(f"{number} of {len(tasks)}: {_describe(task)}: {1e3 * found[task].cost.seconds:.1f} ms")
        except _Failed as error:
            failed.append(f"{_describe(task)}: {error}")
            note(f"{number} of {len(tasks)}: {failed[-1]}")
    lines = tuple(_series(plan, found))
    if not lines:
        raise UserError(f"no stage could be measured at two places: {'; '.join(failed)}")
    models, machine = plan.models, next(iter(found.values())).machine
    return Growth(models.size, models.family, plan.base, models.shard_rows, machine, lines, tuple(failed))


def _series(plan: Plan, found: Mapping[Task, Measured]) -> Iterator[Series]:
    for stage, quantity in plan.lines:
        tasks = [(value, plan.task(stage, quantity, value)) for value in plan.values(quantity)]
        costs = [(value, found[task].cost) for value, task in tasks if task in found]
        if len(costs) > 1:
            yield series(stage, quantity, costs)


class _Failed(Exception):
    """Why a place could not be measured."""


def _in_child(task: Task, command: Sequence[str]) -> Measured:
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / TASK).write_text(dumps(task))
        ended = subprocess.run([*command, folder], env=environment, capture_output=True, text=True)
        if ended.returncode:
            raise _Failed(_reason(ended))
        path = Path(folder) / MEASURED
        return loads(Measured, path.read_text(), str(path), "start the command again.")


def _reason(ended: subprocess.CompletedProcess) -> str:
    if ended.returncode < 0:
        return f"ended by signal {-ended.returncode}; most likely there is too little memory"
    said = [line for line in ended.stderr.splitlines() if line.strip()]
    return said[-1] if said else f"ended with status {ended.returncode}"


def _describe(task: Task) -> str:
    place = ", ".join(f"{name} {getattr(task.place, name)}" for name in STAGES[task.stage])
    return f"{task.stage} ({place})"
