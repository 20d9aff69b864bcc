"""The teacher's N best with the scores of the student and of round 0's teacher."""

import dataclasses
from typing import ClassVar

from emnat_jax.artifacts import paths
from emnat_jax.config import Config
from emnat_jax.em.context import Context
from emnat_jax.em.stages.base import Stage, maker_of
from emnat_jax.em.stages.programs import Program, Target, score_program
from emnat_jax.inference.distill import add_score_columns


@dataclasses.dataclass(frozen=True)
class ScoreOptions:
    """Which scores are there already."""

    targets: int  # candidates of a source, at most
    has_teacher0: bool  # the list is the first teacher's own, so that it has that one's scores
    buckets: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Score(Stage[ScoreOptions]):
    """Makes a `candidates` set out of an `n_best` one."""

    round: int
    data: str
    student: str
    teacher0: str

    kind: ClassVar[str] = "score"

    def inputs(self) -> dict[str, str]:
        models = {"student": self.student, "teacher0": self.teacher0}
        return {"vocabulary": paths.DATA, "data": maker_of(self.data), **models}

    def options(self, config: Config) -> ScoreOptions:
        reference = config.select.include_reference  # which no model gave a score
        return ScoreOptions(
            targets=config.em.candidates + reference,
            has_teacher0=self.data == paths.n_best(0) and not reference,
            buckets=config.data.buckets,
        )

    def run(self, options: ScoreOptions, context: Context) -> None:
        scored = {"student_log_prob": self.student}
        if not options.has_teacher0:
            scored["teacher0_log_prob"] = self.teacher0
        add_score_columns(
            context.directory / self.data,
            context.directory / self.output,
            {
                column: context.load_model(context.directory / path, options.buckets)
                for column, path in scored.items()
            },
            copies={"teacher0_log_prob": "teacher_log_prob"} if options.has_teacher0 else {},
            vocabulary=context.vocabulary,
            workers=context.workers,
        )

    def programs(self, options: ScoreOptions, target: Target) -> list[Program]:
        roles = ("student",) if options.has_teacher0 else ("teacher", "student")
        return [
            score_program(role, target, width=options.buckets[-1], targets=options.targets) for role in roles
        ]
