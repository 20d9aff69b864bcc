"""The metrics of a round: quality of teacher and student, and how multi-modal the student's targets are."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any, ClassVar

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.manifest import is_finished, load_manifest
from emnat_jax.config import Config
from emnat_jax.em.context import Context
from emnat_jax.em.evaluate import EvaluationOptions, RoundModels, StudentData, evaluate_round
from emnat_jax.em.results import MEND, read_evaluation
from emnat_jax.em.stages.base import Stage, maker_of
from emnat_jax.em.stages.programs import (
    Program,
    Target,
    alternatives_program,
    decode_program,
    loss_program,
    rescored_program,
    score_program,
)
from emnat_jax.errors import UserError
from emnat_jax.inference.alternatives import COUNT


@dataclasses.dataclass(frozen=True)
class Evaluate(Stage[EvaluationOptions]):
    """Makes the outputs and eval.json of a round."""

    round: int
    data: str  # what the student learned from
    teacher: str
    student: str
    teacher0: str
    control: str | None = None
    targets: int = 1  # of each row of `data`, between which the student chooses

    kind: ClassVar[str] = "evaluate"
    may_end_rounds: ClassVar[bool] = True

    def inputs(self) -> dict[str, str]:
        models = {"teacher": self.teacher, "student": self.student, "teacher0": self.teacher0}
        models |= {"control": self.control} if self.control else {}
        return {"vocabulary": paths.DATA, "data": maker_of(self.data), **models}

    def fingerprints(self) -> dict[str, str]:
        models = {"teacher": self.teacher, "student": self.student, "teacher0": self.teacher0}
        return {**models, "data": self.data} | ({"control": self.control} if self.control else {})

    def options(self, config: Config) -> EvaluationOptions:
        return EvaluationOptions.of(config)

    def conditions(self, config: Config) -> dict[str, Any]:
        """A run may go on with more samples, or with the file of several references elsewhere."""
        multi = config.data.test_multi
        return {
            "samples": config.evaluation.samples,
            "test_multi": None if multi is None else os.fspath(multi),
        }

    def damage(self, workdir: epath.Path) -> str | None:
        return damage_of(self, workdir, lambda: read_evaluation(workdir, self.round).made_from)

    def run(self, options: EvaluationOptions, context: Context) -> None:
        here = context.directory
        control = here / self.control if self.control else None
        folders = RoundModels(here / self.teacher, here / self.student, here / self.teacher0, control)
        learned = StudentData(here / self.data, self.targets)
        evaluate_round(context, options, self.round, folders, learned)

    def programs(self, options: EvaluationOptions, target: Target) -> list[Program]:
        """Sentences with several references are cut to the same widths, and so need no others."""
        width, rescored = options.buckets[-1], options.rescored_candidates
        return [
            decode_program("distill with", "teacher", target, width=width),
            score_program("teacher", target, width=width),
            score_program("student", target, width=width, targets=self.targets),
            decode_program("decode with", "student", target, width=width),
            loss_program("student", target, width=width),
            *([rescored_program(target, width=width, count=rescored)] if rescored else []),
            alternatives_program(target, width=width, count=COUNT),
        ]

    def parts(self) -> list[str]:
        return [paths.outputs(self.round), self.output]

    def is_finished(self, workdir: epath.Path) -> bool:
        return (workdir / self.output).exists()


def damage_of(
    stage: Stage, workdir: epath.Path, made_from: Callable[[], dict[str, str] | None]
) -> str | None:
    """Why an evaluation has to be made again: its file is damaged, or other models lie there now.

    `made_from` reads the file: the content hash of each model and set, or None of one of before.
    """
    try:
        hashes = made_from() or {}
    except UserError as error:
        return str(error).removesuffix(f"; {MEND}").removeprefix(f"{workdir / stage.output} ")
    for name, path in stage.fingerprints().items():
        there = workdir / path
        if name in hashes and is_finished(there):
            now = load_manifest(there, verify_shards=False).content_hash
            if now != hashes[name]:
                return f"it is of another {name} than {there}"
    return None
