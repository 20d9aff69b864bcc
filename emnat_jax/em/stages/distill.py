"""The teacher's best translation of every source: what plain distillation trains a student on."""

import dataclasses
from typing import ClassVar

from emnat_jax.artifacts import paths
from emnat_jax.config import Config
from emnat_jax.em.context import Context
from emnat_jax.em.stages.base import Stage, maker_of
from emnat_jax.em.stages.programs import Program, Target, decode_program
from emnat_jax.em.stages.proposals import ProposalOptions, propose


@dataclasses.dataclass(frozen=True)
class Distill(Stage[ProposalOptions]):
    """Makes a `distilled` set: all rows in round 0, those of the E-steps in later rounds."""

    round: int
    data: str
    teacher: str

    kind: ClassVar[str] = "distill"

    def inputs(self) -> dict[str, str]:
        return {"vocabulary": paths.DATA, "data": maker_of(self.data), "teacher": self.teacher}

    def fingerprints(self) -> dict[str, str]:
        return {"source": self.data, "model": self.teacher}

    def options(self, config: Config) -> ProposalOptions:
        return ProposalOptions(config.em.rows if self.round else None, config.data.buckets, config.seed)

    def run(self, options: ProposalOptions, context: Context) -> None:
        teacher = context.load_model(context.directory / self.teacher, options.buckets)
        propose(context, options, [teacher], source=self.data, output=self.output)

    def programs(self, options: ProposalOptions, target: Target) -> list[Program]:
        return [decode_program("distill with", "teacher", target, width=options.buckets[-1])]
