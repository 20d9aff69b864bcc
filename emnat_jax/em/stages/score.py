"""The teacher's N best with the scores of the student, or of those of the folds, and of round 0's teacher."""

import dataclasses
from typing import ClassVar

from emnat_jax.artifacts import paths
from emnat_jax.config import Config
from emnat_jax.em.context import Context
from emnat_jax.em.stages.base import Stage, maker_of
from emnat_jax.em.stages.programs import Program, Target, score_program
from emnat_jax.em.stages.proposals import list_options, lists_have_references
from emnat_jax.inference.distill import add_score_columns
from emnat_jax.inference.model import TrainedModel


@dataclasses.dataclass(frozen=True)
class ScoreOptions:
    """Which candidates and scores are there already."""

    targets: int  # candidates of a source, at most
    has_teacher0: bool  # the list is the first teacher's own, so that it has that one's scores
    adds_reference: bool  # the reference is one more candidate, and not in the list
    buckets: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Score(Stage[ScoreOptions]):
    """A copy of the set of an `n_best` stage with the scores and, where asked for, the reference."""

    round: int
    data: str
    student: str
    teacher0: str
    fold_students: tuple[str, ...] = ()  # in place of `student`: of each fold the one that leaves it out

    kind: ClassVar[str] = "score"

    def inputs(self) -> dict[str, str]:
        folds = {f"student_{paths.fold(fold)}": path for fold, path in enumerate(self.fold_students)}
        models = folds or {"student": self.student}
        return {"vocabulary": paths.DATA, "data": maker_of(self.data), **models, "teacher0": self.teacher0}

    def fingerprints(self) -> dict[str, str]:
        folds = {f"student_log_prob_fold_{fold}": path for fold, path in enumerate(self.fold_students)}
        return {"teacher0_log_prob": self.teacher0, **(folds or {"student_log_prob": self.student})}

    def keeps_fingerprints_of(self) -> str:
        return self.data

    def options(self, config: Config) -> ScoreOptions:
        in_list = lists_have_references(config)
        return ScoreOptions(
            targets=list_options(config).most(1),
            # A reference in the list has no score.
            has_teacher0=self.data == paths.n_best(0) and not in_list,
            adds_reference=config.select.include_reference and not in_list,
            buckets=config.data.buckets,
        )

    def run(self, options: ScoreOptions, context: Context) -> None:
        def load(path: str) -> TrainedModel:
            return context.load_model(context.directory / path, options.buckets)

        scored = {} if self.fold_students else {"student_log_prob": self.student}
        if not options.has_teacher0:
            scored["teacher0_log_prob"] = self.teacher0
        folds = [load(path) for path in self.fold_students]
        copies = {"teacher0_log_prob": "teacher_log_prob"} if options.has_teacher0 else {}
        references = {column: load(self.teacher0) for column in copies} if options.adds_reference else None
        add_score_columns(
            context.directory / self.data,
            context.directory / self.output,
            {column: load(path) for column, path in scored.items()},
            of_folds={"student_log_prob": folds} if folds else {},
            copies=copies,
            references=references,
            vocabulary=context.vocabulary,
            workers=context.workers,
        )

    def programs(self, options: ScoreOptions, target: Target) -> list[Program]:
        width, targets = options.buckets[-1], {"student": options.targets}
        if not options.has_teacher0:
            targets["teacher"] = options.targets
        elif options.adds_reference:
            targets["teacher"] = 1
        return [score_program(role, target, width=width, targets=count) for role, count in targets.items()]
