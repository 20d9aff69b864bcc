"""The teacher's N best of every source, and samples: a list that does not depend on the student."""

import dataclasses
from typing import ClassVar

from emnat_jax.artifacts import paths
from emnat_jax.config import Config
from emnat_jax.em.context import Context
from emnat_jax.em.stages.base import Stage, maker_of
from emnat_jax.em.stages.programs import Program, Target
from emnat_jax.em.stages.proposals import (
    ProposalOptions,
    list_options,
    list_programs,
    lists_have_references,
    propose,
)


@dataclasses.dataclass(frozen=True)
class NBest(Stage[ProposalOptions]):
    """Makes a `candidates` set (a `distilled` one, of one best alone) with the teacher's scores."""

    round: int
    data: str
    teacher: str

    kind: ClassVar[str] = "n_best"

    def inputs(self) -> dict[str, str]:
        return {"vocabulary": paths.DATA, "data": maker_of(self.data), "teacher": self.teacher}

    def fingerprints(self) -> dict[str, str]:
        return {"source": self.data, "model": self.teacher}

    def options(self, config: Config) -> ProposalOptions:
        return dataclasses.replace(list_options(config), include_reference=lists_have_references(config))

    def run(self, options: ProposalOptions, context: Context) -> None:
        teacher = context.load_model(context.directory / self.teacher, options.buckets)
        propose(context, options, [teacher], source=self.data, output=self.output)

    def programs(self, options: ProposalOptions, target: Target) -> list[Program]:
        return list_programs(options, "teacher", target)
