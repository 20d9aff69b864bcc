"""A full check of a workdir: everything that is finished, down to the bits, and what it was made from."""

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.atomic import is_local
from emnat_jax.artifacts.folders import found_at
from emnat_jax.artifacts.journal import JOURNAL_NAME, line_count, made_stages, read_journal, write_journal
from emnat_jax.artifacts.manifest import EXPORTED, MANIFEST_NAME, MODEL, is_finished, load_manifest
from emnat_jax.data.prepare import require_split, set_names
from emnat_jax.data.vocab import load_vocabulary
from emnat_jax.em.chain import require_link, require_seed
from emnat_jax.em.plan import make_plan
from emnat_jax.em.stages.base import Stage
from emnat_jax.em.stages.begun import require_own_checkpoints
from emnat_jax.em.stages.evaluate import Evaluate
from emnat_jax.em.stages.prepare import Prepare
from emnat_jax.em.stages.train import Train
from emnat_jax.em.workdir import Workspace
from emnat_jax.errors import UserError, explain, require
from emnat_jax.export.folder import open_export
from emnat_jax.training.restore import damaged_steps

_LOST = "was finished, and is lost; run `emnat em`, which makes it again"
_OTHERS = ("*", f"{paths.MODELS}/*", f"{paths.EXPORTS}/*")  # where single commands put what they make


class Finding(NamedTuple):
    """What is known of one thing in a workdir."""

    place: str  # relative to the workdir
    problem: str | None = None  # what is wrong and what to do; None where all is well
    # What says that it is finished: without these `emnat em` makes it again, or goes on with what is whole.
    marks: tuple[epath.Path, ...] = ()
    aside: tuple[epath.Path, ...] = ()  # what is in the way of making it again


def examine(work: Workspace) -> Iterator[Finding]:
    """A finding for each finished output of the plan, in its order, for the vocabulary and for the journal.

    Then come the sets and models that single commands have made; those no command makes again by itself.

    Reads all of it. Models are loaded one by one. First come findings for things that lie where a folder or a
    file is expected, and are none; an output that was finished once and is lost has one in its place.
    """
    here, in_the_way = work.directory, list(_in_the_way(work))
    yield from in_the_way
    replaced = {finding.place for finding in in_the_way}
    lost = {output for output in _made(work) if replaced.isdisjoint(_with_parents(output))}
    yield _finding(JOURNAL_NAME, lambda: _check_journal(here))
    vocabulary = here / paths.VOCABULARY
    if vocabulary.exists():
        marks = (vocabulary / MANIFEST_NAME, vocabulary / "model")
        yield _finding(paths.VOCABULARY, lambda: load_vocabulary(vocabulary), marks)
    for stage in make_plan(work.config):
        if isinstance(stage, Prepare):
            yield from _examine_splits(work, lost)
        elif stage.is_finished(here):
            is_file = stage.kind == Evaluate.kind
            mark = here / stage.output if is_file else here / stage.output / MANIFEST_NAME
            found = _finding(stage.output, functools.partial(_check, work, stage), (mark,))
            yield found._replace(aside=_unusable(work, stage)) if found.problem else found
        elif stage.output in lost:
            yield Finding(stage.output, _LOST)
    yield from _examine_others(work)


def _made(work: Workspace) -> set[str]:
    """What was finished, as far as the journal knows; of the data its splits too, which it does not name."""
    made = made_stages(work.directory)
    return made | set(_splits(work)) if paths.DATA in made else made


def _splits(work: Workspace) -> list[str]:
    return [paths.split(name) for name in set_names(work.config.data)]


def _with_parents(place: str) -> list[str]:
    """The place and the folders that it lies in."""
    parts = place.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _in_the_way(work: Workspace) -> Iterator[Finding]:
    """What no command can read or replace: a file for a folder, a folder for a file, a link to nothing."""
    plan = [stage.output for stage in make_plan(work.config)]
    folders = {place for place in plan if not place.endswith(".json")}
    folders |= {paths.VOCABULARY, paths.ROUNDS, paths.REPORT, *_splits(work)}
    folders |= {f"{place}/{inner}" for place in plan for inner in (paths.CHECKPOINTS, paths.TENSORBOARD)}
    files = {paths.CONFIG, paths.REPORT_JSON, paths.REPORT_PAGE, paths.TABLE, *set(plan) - folders}
    above = {os.path.dirname(place) for place in folders | files}
    for place in sorted(folders | above | files):
        path, wanted = work.directory / place, "file" if place in files else "folder"
        lies = path.exists() or (is_local(path) and os.path.islink(path))
        if lies and not (path.is_file() if wanted == "file" else path.is_dir()):
            yield Finding(place, f"lies where a {wanted} is expected; move it away", aside=(path,))


def repair(work: Workspace, findings: list[Finding]) -> list[Finding]:
    """Takes away what says that damaged outputs are finished; returns those findings.

    What is in the way of making them again is kept, under the name of `_set_aside`.
    """
    damaged = [
        finding for finding in findings if finding.problem is not None and (finding.marks or finding.aside)
    ]
    for finding in damaged:
        # The marks last: of what has none no finding is made, and a kill would leave the other in the way.
        for path in finding.aside:
            _set_aside(path)
        for mark in finding.marks:
            _set_aside(mark) if mark.is_dir() else mark.unlink(missing_ok=True)
        stage = paths.DATA if finding.place in _splits(work) else finding.place
        write_journal(work.directory, event="repair", stage=stage)
    return damaged


def _set_aside(path: epath.Path) -> None:
    """Gives what lies there a name that is free: checkpoints.other-1 for checkpoints."""
    names = (path.with_name(f"{path.name}.other-{number}") for number in itertools.count(1))
    path.rename(next(name for name in names if not name.exists()))


def _unusable(work: Workspace, stage: Stage) -> tuple[epath.Path, ...]:
    """What a training anew could not go on from: checkpoints of another one, or those that are damaged."""
    if not isinstance(stage, Train):
        return ()
    checkpoints = work.directory / stage.output / paths.CHECKPOINTS
    try:
        require_own_checkpoints(checkpoints.parent)
    except UserError:
        return (checkpoints,)
    return (
        tuple(checkpoints / str(step) for step in damaged_steps(checkpoints)) if checkpoints.exists() else ()
    )


def _finding(place: str, check: Callable[[], object], marks: tuple[epath.Path, ...] = ()) -> Finding:
    try:
        check()
    except UserError as error:
        return Finding(place, str(error), marks)
    except OSError as error:
        return Finding(place, explain(error), marks)
    return Finding(place)


def _examine_splits(work: Workspace, lost: set[str]) -> Iterator[Finding]:
    for name in set_names(work.config.data):
        folder = work.directory / paths.split(name)
        if is_finished(folder):
            check = functools.partial(_check_split, work, name)
            yield _finding(paths.split(name), check, (folder / MANIFEST_NAME,))
        elif paths.split(name) in lost:
            yield Finding(paths.split(name), _LOST)


def _check_split(work: Workspace, name: str) -> None:
    load_manifest(work.directory / paths.split(name), expect=_vocabulary(work))
    require_split(work.directory, name)


def _examine_others(work: Workspace) -> Iterator[Finding]:
    plan = {stage.output for stage in make_plan(work.config)}
    for folder in itertools.chain(*(found_at(work.directory, pattern) for pattern in _OTHERS)):
        place = os.path.relpath(os.fspath(folder), os.fspath(work.directory))
        if place not in (*plan, paths.VOCABULARY) and is_finished(folder):
            yield _finding(place, functools.partial(_check_other, work, folder))


def _check_other(work: Workspace, folder: epath.Path) -> None:
    manifest = load_manifest(folder)
    if manifest.kind == EXPORTED:
        open_export(folder)
    elif manifest.kind == MODEL:
        _check_model(work, folder)


def _check_model(work: Workspace, folder: epath.Path) -> None:
    # Without a vocabulary nothing is known of a model; checkpoints may have been deleted to save space.
    if _vocabulary(work) and (folder / paths.CHECKPOINTS).exists():
        require_own_checkpoints(folder)
        work.load(folder)


def _vocabulary(work: Workspace) -> dict[str, str]:
    """The fingerprint that sets have to name; none where the vocabulary is damaged, which is said of it."""
    with contextlib.suppress(UserError):
        return {"vocabulary": work.vocabulary.fingerprint}
    return {}


def _check(work: Workspace, stage: Stage) -> None:
    """UserError where a finished output is not whole, or was made from something else."""
    output = work.directory / stage.output
    if isinstance(stage, Train):
        _check_model(work, output)
    elif stage.kind != Evaluate.kind:
        load_manifest(output)
    damage = stage.damage(work.directory)
    require(damage is None, f"{output}: {damage}")
    require_link(work.directory, stage)
    require_seed(work, stage)


def _check_journal(directory: epath.Path) -> None:
    damaged = line_count(directory) - len(read_journal(directory))
    require(not damaged, f"{directory / JOURNAL_NAME}: {damaged} lines are damaged, and are passed over.")
