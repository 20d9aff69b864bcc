"""Stages that two runs have in common: made once, taken over by the other."""

import os
import shutil

from etils import epath

from emnat_jax.artifacts.atomic import is_local
from emnat_jax.artifacts.manifest import MANIFEST_NAME
from emnat_jax.config import Config
from emnat_jax.config.convert import differences, to_dict
from emnat_jax.em.plan import Stage, make_plan

# What a stage reads of the configuration, beside its own fields and what the stages before it made.
_TEACHER = ("data.", "teacher.")
_BOTH = (*_TEACHER, "student.")
_READS = {
    "prepare": ("data.", "vocab."),
    "train teacher": ("data.", "vocab.", "teacher.", "teacher_train."),
    "train student": ("data.", "vocab.", "student.", "student_train.", "em.prior_beta"),
    "distill": _TEACHER,
    "n_best": (*_TEACHER, "em.rows", "em.candidates", "select.include_reference"),
    "candidates": (*_BOTH, "em.rows", "em.candidates", "em.candidates_from", "select.include_reference"),
    "score": (*_BOTH, "select.include_reference"),
    "select": ("select.",),
    "evaluate": (*_BOTH, "evaluation."),
}
# Every stage after round 0, too: how short a training is, which rows, and whether there is such a round at all.
_READ_LATER = ("em.warm_start", "em.later_", "em.rows", "em.stop_")


def common_stages(ours: Config, theirs: Config) -> list[Stage]:
    """The stages of our plan, in order, whose results would be the same in their run."""
    if ours.seed != theirs.seed:
        return []
    changed = differences(to_dict(ours), to_dict(theirs))
    plan, other, common = make_plan(ours), make_plan(theirs), {}
    for stage in plan:
        untouched = not any(name.startswith(_reads(stage)) for name in changed)
        inputs = _inputs(stage, plan)  # in a run with a teacher for each round the same stage has others
        alike = stage in other and inputs == _inputs(stage, other)
        if untouched and alike and all(name in common for name in inputs):
            common[stage.output] = stage
    return list(common.values())


def _reads(stage: Stage) -> tuple[str, ...]:
    own = _READS[f"train {stage.role}" if stage.kind == "train" else stage.kind]
    return (*own, *_READ_LATER) if stage.round else own


def _inputs(stage: Stage, plan: list[Stage]) -> list[str]:
    """Outputs of the stages that this one needs; all need the first, which makes vocabulary and data."""
    if stage.kind == "prepare":
        return []
    made = {other.output for other in plan}
    here = f"rounds/{stage.round}"
    teacher = f"{here}/teacher" if f"{here}/teacher" in made else "rounds/0/teacher"  # one that stays
    both = [teacher, "rounds/0/teacher", f"{here}/student"]
    models = {"distill": [teacher], "n_best": [teacher], "candidates": both, "score": both, "evaluate": both}
    sets = [name for name in (stage.data, stage.base, stage.start) if name and not name.startswith("data/")]
    return ["data", *sets, *models.get(stage.kind, [])]


def take_over(stage: Stage, source: epath.Path, target: epath.Path) -> None:
    """Puts what a stage made in the workdir `source` into the workdir `target`; what says "finished" comes last.

    On one file system the files are linked, not copied: nobody changes what is finished.
    """
    if stage.kind == "prepare":
        for name in ("vocab", "data/train", "data/valid", "data/test"):
            _take_folder(source / name, target / name)
    elif stage.kind == "evaluate":
        folder = os.path.dirname(stage.output)
        _take_folder(source / folder / "outputs", target / folder / "outputs")
        _place(source / stage.output, target / stage.output)
    else:
        _take_folder(source / stage.output, target / stage.output)


def _take_folder(source: epath.Path, target: epath.Path) -> None:
    """All files below `source` and no others: at once where a folder can be renamed, else the manifest last."""
    beside = target.parent / f".{target.name}.taken" if is_local(target) else target
    for left in {beside, target}:  # of a stage that was cut off
        if left.exists():
            left.rmtree()
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
