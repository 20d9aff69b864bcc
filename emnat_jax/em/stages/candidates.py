"""The N best of the student, alone or beside the teacher's, with the scores of all models."""

import dataclasses
import itertools
from typing import ClassVar

from emnat_jax.artifacts import paths
from emnat_jax.config import Config
from emnat_jax.em.context import Context
from emnat_jax.em.stages.base import Stage, maker_of
from emnat_jax.em.stages.programs import Program, Target, score_program
from emnat_jax.em.stages.proposals import ProposalOptions, list_options, list_programs, propose


@dataclasses.dataclass(frozen=True, kw_only=True)
class CandidatesOptions(ProposalOptions):
    """Who proposes how many candidates of which sources."""

    proposers: tuple[str, ...]  # roles


@dataclasses.dataclass(frozen=True)
class Candidates(Stage[CandidatesOptions]):
    """Makes a `candidates` set. A list of the teacher alone is made by `n_best` and `score`."""

    round: int
    data: str
    teacher: str | None  # None: it proposes nothing, or has in the lists that `data` holds
    student: str
    teacher0: str
    extends: bool = False  # `data` holds lists, to which the student's candidates are added

    kind: ClassVar[str] = "candidates"

    def inputs(self) -> dict[str, str]:
        read = {"vocabulary": paths.DATA, "data": maker_of(self.data), "student": self.student}
        return read | {"teacher0": self.teacher0} | ({"teacher": self.teacher} if self.teacher else {})

    def fingerprints(self) -> dict[str, str]:
        scored = {"teacher0_log_prob": self.teacher0, "student_log_prob": self.student}
        return {"source": self.data, **scored} | ({"teacher_log_prob": self.teacher} if self.teacher else {})

    def options(self, config: Config) -> CandidatesOptions:
        proposers = ("student",) if self.extends else config.em.candidates_from
        return CandidatesOptions(proposers=proposers, **vars(list_options(config)))

    def run(self, options: CandidatesOptions, context: Context) -> None:
        models = {
            name: context.load_model(context.directory / path, options.buckets)
            for name, path in (
                ("teacher", self.teacher),
                ("student", self.student),
                ("teacher0", self.teacher0),
            )
            if path is not None
        }
        scorers = {"teacher0_log_prob": models["teacher0"], "student_log_prob": models["student"]}
        if self.teacher is not None:
            scorers["teacher_log_prob"] = models["teacher"]
        proposers = [models[role] for role in options.proposers]
        propose(
            context,
            options,
            proposers,
            source=self.data,
            output=self.output,
            extends=self.extends,
            scorers=scorers,
        )

    def programs(self, options: CandidatesOptions, target: Target) -> list[Program]:
        width = options.buckets[-1]
        targets = options.most(len(options.proposers) + self.extends)
        proposing = [list_programs(options, role, target) for role in options.proposers]
        return [
            *itertools.chain(*proposing),
            *(score_program(role, target, width=width, targets=targets) for role in ("teacher", "student")),
        ]
