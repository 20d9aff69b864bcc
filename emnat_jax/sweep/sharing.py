"""Stages that two runs share: made once and linked into the other."""

import os
import shutil

from etils import epath

from emnat_jax.artifacts.atomic import is_local
from emnat_jax.artifacts.folders import remove_folder
from emnat_jax.artifacts.manifest import MANIFEST_NAME
from emnat_jax.config import Config
from emnat_jax.em.plan import make_plan
from emnat_jax.em.signature import signatures
from emnat_jax.em.stages.base import Stage


def common_stages(ours: Config, theirs: Config) -> list[Stage]:
    """The stages of our plan, in order, whose results would be the same in their run."""
    plan = make_plan(ours)
    mine = signatures(plan, ours, with_conditions=True)
    other = signatures(make_plan(theirs), theirs, with_conditions=True)
    return [stage for stage in plan if mine[stage.output] == other.get(stage.output)]


def take_over(stage: Stage, source: epath.Path, target: epath.Path) -> None:
    """Puts what a stage made in the workdir `source` into `target`; what says "finished" comes last.

    On one file system the files are linked, not copied: nobody changes what is finished.
    """
    for path in stage.parts():
        take = _take_folder if (source / path).is_dir() else _place
        take(source / path, target / path)


def _take_folder(source: epath.Path, target: epath.Path) -> None:
    """Replaces `target` by the files of `source`: by one rename, or with the manifest last."""
    beside = target.parent / f".{target.name}.taken" if is_local(target) else target
    for left in {beside, target}:  # of a stage that was cut off
        remove_folder(left)
    for path in sorted(_files(source), key=lambda path: path.name == MANIFEST_NAME):
        _place(path, beside / os.path.relpath(os.fspath(path), os.fspath(source)))
    if beside != target:
        beside.rename(target)


def _files(folder: epath.Path) -> list[epath.Path]:
    found = []
    for path in sorted(folder.iterdir(), key=os.fspath):
        found += _files(path) if path.is_dir() else [path]
    return found


def _place(source: epath.Path, target: epath.Path) -> None:
    """One file under another name, by a link where that can be."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not (is_local(source) and is_local(target)):
        source.copy(target, overwrite=True)
        return
    beside = target.parent / f".{target.name}.tmp"
    beside.unlink(missing_ok=True)
    try:
        os.link(os.fspath(source), os.fspath(beside))
    except OSError:  # another file system, or one without links
        shutil.copyfile(os.fspath(source), os.fspath(beside))
    beside.replace(target)
