"""A grid of runs in one workdir: each cell a workdir of its own, with what runs have in common made once."""

import copy
import dataclasses
import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from etils import epath

from emnat_jax.config import Config
from emnat_jax.config_dict import assign, from_dict
from emnat_jax.em.driver import run
from emnat_jax.em.journal import InUse, hold, write_journal
from emnat_jax.em.plan import EVAL_NAME, make_plan
from emnat_jax.em.sharing import common_stages, take_over
from emnat_jax.em.workspace import Log, Workspace
from emnat_jax.errors import UserError, require
from emnat_jax.training.distributed import Processes

Grid = Mapping[str, Mapping[str, Mapping[str, Any]]]  # group -> cell -> dotted key -> value
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a grid."""

    group: str
    name: str
    seed: int
    config: Config

    @property
    def folder(self) -> str:
        """Its workdir, relative to the sweep's."""
        return f"cells/{self.group}/{self.name}/{self.seed}"

    def is_finished(self, directory: epath.Path) -> bool:
        """Whether its last round was evaluated, or a rule ended the rounds before."""
        here = directory / self.folder
        return (here / f"rounds/{self.config.em.rounds}/{EVAL_NAME}").exists() or (
            here / "report/report.json"
        ).exists()


def make_cells(base: dict, grid: Grid, seeds: Sequence[int]) -> list[Cell]:
    """All cells, seed by seed, so that a sweep cut short has whole comparisons of its first seeds.

    `base` holds what all cells share. UserError for names that are no folder's, and for what `base` refuses.
    """
    require(isinstance(grid, Mapping) and len(grid) > 0, "get_grid() gives {group: {cell: {key: value}}}.")
    cells = []
    for seed in seeds:
        for group, members in grid.items():
            for name, changes in members.items():
                _require_names(group, name)
                cells.append(
                    Cell(group, name, seed, _changed(base, changes | {"seed": seed}, f"{group}/{name}"))
                )
    return cells


def _require_names(*names: str) -> None:
    for name in names:
        require(
            bool(_NAME.fullmatch(name)),
            f"{name!r} cannot name a folder; use letters, digits, '.', '_' and '-'.",
        )


def _changed(base: dict, changes: Mapping[str, Any], where: str) -> Config:
    values = copy.deepcopy(base)
    try:
        for key, value in changes.items():
            assign(values, key, value)
        return from_dict(values)
    except UserError as error:
        raise UserError(f"cell {where}: {error}") from error


def choose(cells: Iterable[Cell], pattern: str | None) -> list[Cell]:
    """The cells that one of the comma-separated patterns names, e.g. nar/*; UserError where none does."""
    cells = list(cells)
    patterns = (pattern or "*").split(",")
    chosen = [c for c in cells if any(fnmatch.fnmatchcase(f"{c.group}/{c.name}", p) for p in patterns)]
    known = ", ".join(dict.fromkeys(f"{cell.group}/{cell.name}" for cell in cells))
    require(bool(chosen), f"--only={pattern} names no cell; there are {known}.")
    return chosen


def run_cells(
    cells: Sequence[Cell], chosen: Sequence[Cell], directory: epath.PathLike, log: Log, processes: Processes
) -> None:
    """Runs or resumes the chosen cells, one after the other; each takes over what any of `cells` has made alike.

    A cell in which another process works is left to it.
    """
    directory = epath.Path(directory)
    for cell in chosen:
        work = Workspace(cell.config, directory / cell.folder, _prefixed(log, cell), processes)
        try:
            _borrow(work, cell, cells, directory)
            run(work)
        except InUse as error:
            log(f"{cell.folder}: left out: {error}")


def _borrow(work: Workspace, cell: Cell, cells: Sequence[Cell], directory: epath.Path) -> None:
    """Takes over the stages that other cells have finished and this one has not."""
    work.check()
    with hold(work.processes, work.directory):
        work.keep_config()
        for other in cells:
            if other.folder != cell.folder:
                work.processes.agree(
                    f"{cell.folder}: shared", lambda other=other: _take(work, other, directory)
                )


def _take(work: Workspace, other: Cell, directory: epath.Path) -> None:
    source = directory / other.folder
    for stage in common_stages(work.config, other.config):
        if stage.is_finished(source) and not stage.is_finished(work.directory):
            take_over(stage, source, work.directory)
            write_journal(work.directory, event="taken over", stage=stage.output, cell=other.folder)
            work.log(f"{stage.output}: taken over from {other.folder}")


def _prefixed(log: Log, cell: Cell) -> Log:
    return lambda text: log(f"{cell.group}/{cell.name}/{cell.seed}: {text}")


def describe(cells: Sequence[Cell], directory: epath.PathLike) -> str:
    """One line a cell: done, begun or to do, and how many stages are finished."""
    directory, lines = epath.Path(directory), []
    for cell in cells:
        stages = make_plan(cell.config)
        done = sum(stage.is_finished(directory / cell.folder) for stage in stages)
        mark = "done" if cell.is_finished(directory) else "begun" if done else "to do"
        lines.append(f"{mark:5}  {cell.group}/{cell.name}, seed {cell.seed}: {done} of {len(stages)} stages")
    return "\n".join(lines)
