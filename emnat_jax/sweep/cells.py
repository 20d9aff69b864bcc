"""A grid of runs in one workdir: each cell a workdir of its own, with what runs have in common made once."""

import contextlib
import dataclasses
import fnmatch
import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.atomic import read_file
from emnat_jax.artifacts.folders import found_at, numbered
from emnat_jax.artifacts.journal import exclusive, write_journal
from emnat_jax.config import Config
from emnat_jax.config.convert import changed
from emnat_jax.em.chain import require_whole
from emnat_jax.em.driver import require_name, run
from emnat_jax.em.plan import make_plan
from emnat_jax.em.resume import keep_config
from emnat_jax.em.workdir import Workspace, saved_config
from emnat_jax.errors import InUse, UserError, require
from emnat_jax.runtime.processes import Processes
from emnat_jax.runtime.progress import Log
from emnat_jax.sweep.sharing import common_stages, take_over

TOGETHER_SECONDS = 60.0  # in which all processes meet an error that is everybody's
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
        return paths.cell(self.group, self.name, self.seed)

    def is_finished(self, directory: epath.Path) -> bool:
        """Whether all has been evaluated, or all up to the round after which a rule has ended them."""
        here, em = directory / self.folder, self.config.em
        wanted = [paths.evaluation(em.rounds)]
        if em.finetune.steps is not None:
            wanted.append(paths.FINETUNE_EVALUATION)
        if all((here / name).exists() for name in wanted):
            return True
        ended = _ended_after(here / paths.REPORT_JSON)
        return ended is not None and (here / paths.evaluation(ended)).exists()


def _ended_after(report: epath.Path) -> int | None:
    """The round after which a rule has ended a run, as its report says; None without a whole report."""
    with contextlib.suppress(ValueError, OSError, RecursionError, LookupError, TypeError):
        found = json.loads(read_file(report))
        last = found["rounds"][-1]["round"]
        return last if found["stopped"] is not None and type(last) is int else None
    return None


def make_cells(base: dict, grid: Any, seeds: Sequence[int]) -> list[Cell]:
    """All cells, seed by seed, so that a sweep cut short has whole comparisons of its first seeds.

    `base` holds what all cells share, `grid` is {group: {cell: {dotted key: value}}}. UserError for a grid of
    another form, a key that there is not and a value that it refuses.
    """
    _require_grid(grid)
    return [
        Cell(group, name, seed, _changed(base, {**changes, "seed": seed}, f"{group}/{name}"))
        for seed in seeds
        for group, members in grid.items()
        for name, changes in members.items()
    ]


def begun_seeds(directory: epath.PathLike) -> set[int]:
    """The seeds that a sweep in this workdir was run with before."""
    return {seed for cell in found_at(directory, f"{paths.CELLS}/*/*") for seed in numbered(cell)}


def _require_grid(grid: Any) -> None:
    """UserError where this is not what get_grid() is to give."""
    form = "get_grid() gives {group: {cell: {key: value}}}"
    require(isinstance(grid, Mapping) and bool(grid), f"{form}, not {grid!r}.")
    for group, members in grid.items():
        _require_name(group)
        require(isinstance(members, Mapping) and bool(members), f"group {group}: {form}, not {members!r}.")
        for name, changes in members.items():
            _require_name(name)
            where = f"cell {group}/{name}"
            keyed = isinstance(changes, Mapping) and all(isinstance(key, str) for key in changes)
            require(keyed, f"{where}: {form}, not {changes!r}.")
            require("seed" not in changes, f"{where}: a sweep takes its seeds from --seeds.")


def _require_name(name: Any) -> None:
    fits = isinstance(name, str) and bool(_NAME.fullmatch(name))
    require(fits, f"{name!r} cannot name a folder; use letters, digits, '.', '_' and '-'.")


def _changed(base: dict, changes: Mapping[str, Any], where: str) -> Config:
    try:
        return changed(base, changes)
    except UserError as error:
        raise UserError(f"cell {where}: {error}") from error


def choose(cells: Iterable[Cell], pattern: str | None) -> list[Cell]:
    """The cells that comma-separated patterns name, e.g. vanilla/*; UserError for one that names none."""
    names = {cell: f"{cell.group}/{cell.name}" for cell in cells}
    patterns = [part.strip() for part in (pattern or "*").split(",")]
    for part in patterns:
        known = ", ".join(dict.fromkeys(names.values()))
        require(
            bool(fnmatch.filter(names.values(), part)), f"--only={part} names no cell; there are {known}."
        )
    return [cell for cell, name in names.items() if any(fnmatch.fnmatchcase(name, part) for part in patterns)]


def run_cells(
    cells: Sequence[Cell], chosen: Sequence[Cell], directory: epath.PathLike, log: Log, processes: Processes
) -> dict[str, str]:
    """Runs or resumes the chosen cells in turn; each takes over what any of `cells` has made alike.

    A cell in which another process works is left to it. Returns what went wrong (UserError) by the cell's
    folder: the others are run all the same. Raises UserError before anything runs for what a check finds, and
    for what went wrong in a part of the processes of this run alone: the rest of them has not left that cell.
    """
    directory, failed = epath.Path(directory), {}
    for cell in chosen:
        work = _workspace(cell, directory, log, processes)
        work.check()
        processes.broadcast("name of the workdir", functools.partial(require_name, work))
    for cell in chosen:
        try:
            _run_cell(_workspace(cell, directory, log, processes), cell, cells, directory)
        except InUse as error:
            log(f"{cell.folder}: left out: {error}")
        except UserError as error:
            log(f"{cell.folder}: {error}")
            if not processes.all_reach(f"failed in {cell.folder}", TOGETHER_SECONDS):
                raise
            failed[cell.folder] = str(error)
    return failed


def _workspace(cell: Cell, directory: epath.Path, log: Log, processes: Processes) -> Workspace:
    return Workspace(
        cell.config,
        directory / cell.folder,
        lambda text: log(f"{cell.group}/{cell.name}/{cell.seed}: {text}"),
        processes,
    )


def _run_cell(work: Workspace, cell: Cell, cells: Sequence[Cell], directory: epath.Path) -> None:
    """Takes over the stages that other cells have finished and this one has not, and runs the rest."""
    broadcast = work.processes.broadcast
    with work.processes.hold(work.directory, exclusive):
        changed = keep_config(work)
        if not changed and broadcast(f"{cell.folder}: finished", lambda: _is_done(work, cell, directory)):
            work.log("finished before")
            return
        for other in cells:
            if other.folder != cell.folder:
                broadcast(f"{cell.folder}: shared", functools.partial(_take, work, other, directory))
    run(work)


def _is_done(work: Workspace, cell: Cell, directory: epath.Path) -> bool:
    """Whether nothing is left to do; what is damaged is made again, or refused, where the cell runs."""
    if not (cell.is_finished(directory) and (work.directory / paths.REPORT_PAGE).exists()):
        return False
    try:
        require_whole(work)
    except UserError as error:
        work.log(str(error))
        return False
    return True


def _take(work: Workspace, other: Cell, directory: epath.Path) -> None:
    """What the workdir of `other` has finished that is the same here; nothing of one that is damaged."""
    source = directory / other.folder
    try:
        theirs = saved_config(source)
    except UserError as error:  # that cell's own mistake, which it says itself when it is run
        work.log(f"takes nothing over from {other.folder}: {error}")
        return
    if theirs is None:
        return
    for stage in common_stages(work.config, theirs):
        if stage.is_finished(source) and not stage.is_finished(work.directory):
            take_over(stage, source, work.directory)
            write_journal(work.directory, event="taken over", stage=stage.output, cell=other.folder)
            work.log(f"{stage.output}: taken over from {other.folder}")


def describe(cells: Sequence[Cell], directory: epath.PathLike) -> str:
    """One line a cell: done, begun or to do, and how many stages are finished."""
    directory, lines = epath.Path(directory), []
    for cell in cells:
        stages = make_plan(cell.config)
        done = sum(stage.is_finished(directory / cell.folder) for stage in stages)
        mark = "done" if cell.is_finished(directory) else "begun" if done else "to do"
        lines.append(f"{mark:5}  {cell.group}/{cell.name}, seed {cell.seed}: {done} of {len(stages)} stages")
    return "\n".join(lines)
