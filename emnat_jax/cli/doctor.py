"""Check the machine and a workdir: versions, devices, memory, disk, and everything that is finished, in full.

The workdir may be that of a sweep: then each of its runs is looked at.

Each finding says what to do. With --repair what is damaged no longer counts as finished, so that `emnat em`
(of a sweep `emnat sweep`) makes it again, on the same devices the same bits, or goes on with what is whole.
Nothing else is touched.

Examples:
  emnat doctor
  emnat doctor --workdir=runs/mine
  emnat doctor --workdir=runs/mine --repair
"""

import argparse
import contextlib
import os
import shutil
from collections.abc import Iterator

from emnat_jax.artifacts import paths
from emnat_jax.cli.configuration import read_config
from emnat_jax.cli.options import add_workdir
from emnat_jax.cli.workspace import open_workspace, set_up_jax
from emnat_jax.config import Config
from emnat_jax.errors import UserError, require
from emnat_jax.runtime.processes import Processes

MARKED = " Marked to be made again."
LITTLE_DISK = 2 << 30  # bytes, as are the others
LITTLE_MEMORY = 4 << 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `emnat doctor`."""
    add_workdir(parser)
    parser.add_argument(
        "--repair", action="store_true", help="have what is damaged made again by the next `emnat em`"
    )


def run(args: argparse.Namespace, config_arguments: list[str], processes: Processes) -> None:
    """Prints a line for each finding. UserError where something is wrong, and to repair what is in use."""
    from etils.epath import Path

    from emnat_jax.artifacts.journal import exclusive

    problems = [*_machine(args.workdir)]
    if Path(args.workdir).exists():
        # A run that is going on must not lose what says that its outputs are finished.
        with exclusive(args.workdir) if args.repair else contextlib.nullcontext():
            problems += _workdir(args, config_arguments, processes)
    else:
        _show("-", args.workdir, "does not exist: nothing to check")
    for problem in problems:
        _show("!", *problem)
    done = "; run `emnat em`, which makes it again, or `emnat sweep`" if args.repair else ""
    require(not problems, f"{len(problems)} of the findings above need your attention (marked with !){done}.")


def _show(mark: str, place: str, text: str) -> None:
    print(f"{mark} {place}: {text}", flush=True)


def _machine(workdir: str) -> Iterator[tuple[str, str]]:
    """Prints what is there; what is wrong with it."""
    try:
        set_up_jax()
    except UserError as error:
        yield "devices", str(error)
        return
    from emnat_jax.runtime.environment import environment

    found = environment()
    _show("ok", "machine", f"{found.platform}, Python {found.python}")
    _show(
        "ok",
        "packages",
        ", ".join(f"{name} {version}" for name, version in found.versions.items() if version),
    )
    for name in (name for name, version in found.versions.items() if version is None):
        yield "packages", f"{name} is not installed; pip install {name}"
    _show("ok", "devices", found.devices)
    yield from _space(workdir)


def _space(workdir: str) -> Iterator[tuple[str, str]]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    _show("ok", "memory", f"{memory / (1 << 30):.1f} GiB")
    if memory < LITTLE_MEMORY:
        yield "memory", "little: give small data.batch_tokens and data.decode_rows"
    if "://" in workdir:
        return
    folder = os.path.abspath(workdir)
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    free = shutil.disk_usage(folder).free
    _show("ok", "disk", f"{free / (1 << 30):.1f} GiB free in {folder}")
    if free < LITTLE_DISK:
        yield "disk", f"{folder} has little space left; free some, or choose another --workdir"
    if not os.access(folder, os.W_OK):
        yield "disk", f"{folder} cannot be written; choose another --workdir, or change its permissions"


def _workdir(
    args: argparse.Namespace, config_arguments: list[str], processes: Processes
) -> Iterator[tuple[str, str]]:
    """Prints what is whole; what is not, marked to be made again where that is asked for."""
    from emnat_jax.artifacts.folders import found_at
    from emnat_jax.artifacts.journal import exclusive

    cells = found_at(args.workdir, f"{paths.CELLS}/*/*/*")
    if not cells:
        yield from _run(args, config_arguments, processes)
    for cell in cells:
        place = f"{os.path.relpath(cell, args.workdir)}/"
        if not cell.is_dir():
            yield place, "lies where a folder is expected; move it away"
            continue
        with exclusive(cell) if args.repair else contextlib.nullcontext():
            of_cell = argparse.Namespace(workdir=os.fspath(cell), repair=args.repair)
            yield from _run(of_cell, [], processes, place)


def _run(
    args: argparse.Namespace, config_arguments: list[str], processes: Processes, inside: str = ""
) -> Iterator[tuple[str, str]]:
    """As `_workdir`, of one run; `inside` begins the names of what lies in that of a sweep."""
    from emnat_jax.em.doctor import examine, repair

    config, problem = _configuration(args, config_arguments)
    if problem is not None:
        yield f"{inside}{paths.CONFIG}", problem
    if config is None:
        return
    work = open_workspace(config, args.workdir, processes)
    try:
        work.check()
    except UserError as error:
        yield f"{inside}configuration", str(error)
    findings = list(examine(work))
    for finding in findings:
        if finding.problem is None:
            _show("ok", f"{inside}{finding.place}", "whole")
    repaired = repair(work, findings) if args.repair else []
    for finding in findings:
        if finding.problem is not None:
            yield f"{inside}{finding.place}", finding.problem + (MARKED if finding in repaired else "")


def _configuration(args: argparse.Namespace, config_arguments: list[str]) -> tuple[Config | None, str | None]:
    """The configuration, and what is wrong with it; with --repair a damaged file gives way to its copy."""
    from etils.epath import Path

    from emnat_jax.artifacts.saved_config import copy_of

    try:
        return read_config(config_arguments, args.workdir), None
    except UserError as error:
        file = Path(args.workdir) / paths.CONFIG
        if not (args.repair and file.exists() and copy_of(args.workdir)):
            return None, str(error)
        file.unlink()
        return read_config(config_arguments, args.workdir), f"{error}{MARKED}"
