"""The stages of an EM run, in order: what each makes, from what. Pure; running is `driver`'s."""

from typing import NamedTuple

from etils import epath

from emnat_jax.artifacts.manifest import is_finished
from emnat_jax.config import Config

EVAL_NAME = "eval.json"


class Stage(NamedTuple):
    """One step of the plan. Paths are relative to the workdir."""

    kind: str  # prepare, train, distill, n_best, candidates, score, select or evaluate
    output: str  # the folder (or file) whose manifest (or presence) says that it is finished
    round: int | None = None
    role: str | None = None  # train: teacher or student
    data: str | None = None  # the set that is read
    base: str | None = None  # train: where the rows that `data` does not have come from
    start: str | None = None  # train: the model whose weights (or encoder, from another role) it begins with
    targets: int = 1  # train: of each row; more than one: the E-step inside the loss

    def is_finished(self, workdir: epath.Path) -> bool:
        """Whether the stage's manifest (or file) is there; loading verifies it."""
        if self.kind == "prepare":
            return all(is_finished(workdir / "data" / split) for split in ("train", "valid", "test"))
        path = workdir / self.output
        return path.exists() if self.kind == "evaluate" else is_finished(path)


def make_plan(config: Config) -> list[Stage]:
    """All stages of all rounds (METHOD 1.4)."""
    stages = [Stage("prepare", "data")]
    for index in range(config.em.rounds + 1):
        stages += _round(config, index, last=index == config.em.rounds)
    return stages


def _round(config: Config, index: int, *, last: bool) -> list[Stage]:
    here, before = f"rounds/{index}", f"rounds/{index - 1}"
    warm = index > 0 and config.em.warm_start
    shared = index == 0 and config.em.share_encoder
    # An E-step on some rows leaves the others with the targets that they had (METHOD 1.3; incremental EM,
    # Neal & Hinton 1998). Without them a model forgets what a small set does not show.
    partial = index > 0 and config.em.rows is not None
    teacher_data = f"{before}/selected" if index else "data/train"
    student_data = f"{here}/distilled"
    stages = []
    if index == 0 or config.em.update_teacher:
        stages.append(
            Stage(
                "train", f"{here}/teacher", index, "teacher", teacher_data,
                base="data/train" if partial else None, start=f"{before}/teacher" if warm else None,
            )
        )  # fmt: skip
    base = "rounds/0/distilled" if partial else None
    inside = config.em.student_data == "candidates"
    if inside:
        if config.em.rows is not None and index == 0:  # the rows that have no list
            base = student_data
            stages.append(Stage("distill", student_data, index, data="data/train"))
        student_data = f"{here}/n_best"
        stages.append(Stage("n_best", student_data, index, data="data/train"))
    elif config.em.student_data == "raw":
        student_data, base = "data/train", None
    elif index and config.em.student_data == "selected":
        student_data = teacher_data
    else:
        stages.append(Stage("distill", student_data, index, data="data/train"))
    start = f"{before}/student" if warm else f"{here}/teacher" if shared else None
    targets = config.em.candidates + config.select.include_reference if inside else 1
    stages.append(Stage("train", f"{here}/student", index, "student", student_data, base, start, targets))
    stages.append(Stage("evaluate", f"{here}/{EVAL_NAME}", index, data=student_data))
    return stages if last else stages + _e_step(config, index, listed=inside)


def _e_step(config: Config, index: int, *, listed: bool) -> list[Stage]:
    """From the models of a round to the next teacher's targets; `listed`: the teacher's N best are there already."""
    here = f"rounds/{index}"
    n_best, candidates = f"{here}/n_best", f"{here}/candidates"
    if config.em.candidates_from != ("teacher",):
        proposed = [Stage("candidates", candidates, index, data="data/train")]
    else:
        # A list that does not depend on the student is a stage of its own, so that students can share it.
        proposed = [] if listed else [Stage("n_best", n_best, index, data="data/train")]
        proposed.append(Stage("score", candidates, index, data=n_best))
    return [*proposed, Stage("select", f"{here}/selected", index, data=candidates)]


def describe(stages: list[Stage], workdir: epath.Path) -> str:
    """One line a stage: done or to do, and what it makes."""
    lines = []
    for stage in stages:
        mark = "done" if stage.is_finished(workdir) else "to do"
        source = f"  <- {stage.data}" + (f" over {stage.base}" if stage.base else "") if stage.data else ""
        start = f", starting from {stage.start}" if stage.start else ""
        lines.append(f"{mark:5}  {stage.kind:10} {stage.output}{source}{start}")
    return "\n".join(lines)
