"""The stages after the last round: its student trained on for another objective, and what that is worth."""

import dataclasses
import posixpath
from typing import ClassVar

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.config import Config
from emnat_jax.em.context import Context
from emnat_jax.em.evaluate import EvaluationOptions
from emnat_jax.em.finetune import FinetunedModels, evaluate_finetuned
from emnat_jax.em.results import read_finetuned
from emnat_jax.em.stages.base import Stage
from emnat_jax.em.stages.evaluate import damage_of
from emnat_jax.em.stages.programs import Program, Target, decode_program
from emnat_jax.em.stages.train import Train
from emnat_jax.em.train_options import TrainOptions, finetune_options


@dataclasses.dataclass(frozen=True)
class Finetune(Train):
    """Goes on with the student of the last round for an objective; for its own this is the control."""

    objective: str = "likelihood"

    def options(self, config: Config) -> TrainOptions:
        return finetune_options(config, self.round, self.targets, self.objective)

    def _label(self) -> str:
        return f"fine-tuned {posixpath.basename(self.output)}"

    def _remedy(self) -> str:
        return "lower em.finetune.lr_ratio and run again"


@dataclasses.dataclass(frozen=True)
class EvaluateFinetuned(Stage[EvaluationOptions]):
    """Makes the outputs and eval.json of the student before and after, and of the control."""

    round: int
    student: str
    finetuned: str
    control: str | None = None

    kind: ClassVar[str] = "evaluate"

    def inputs(self) -> dict[str, str]:
        return {"vocabulary": paths.DATA, **self.fingerprints()}

    def fingerprints(self) -> dict[str, str]:
        models = {"student": self.student, "finetuned": self.finetuned}
        return models | ({"control": self.control} if self.control else {})

    def options(self, config: Config) -> EvaluationOptions:
        return EvaluationOptions.of(config)

    def damage(self, workdir: epath.Path) -> str | None:
        return damage_of(self, workdir, lambda: read_finetuned(workdir).made_from)

    def run(self, options: EvaluationOptions, context: Context) -> None:
        here = context.directory
        folders = {name: here / path for name, path in self.fingerprints().items()}
        evaluate_finetuned(context, options, self.round, FinetunedModels(**folders))

    def programs(self, options: EvaluationOptions, target: Target) -> list[Program]:
        return [decode_program("decode with", "student", target, width=options.buckets[-1])]

    def parts(self) -> list[str]:
        return [paths.FINETUNE_OUTPUTS, self.output]

    def is_finished(self, workdir: epath.Path) -> bool:
        return (workdir / self.output).exists()
