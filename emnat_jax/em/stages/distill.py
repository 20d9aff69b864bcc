"""The teacher's best translation of every source: what plain distillation trains a student on."""

import dataclasses
from typing import ClassVar

from emnat_jax.artifacts import paths
from emnat_jax.config import Config
from emnat_jax.em.context import Context
from emnat_jax.em.stages.base import Stage, maker_of
from emnat_jax.em.stages.programs import Program, Target, decode_program
from emnat_jax.inference.distill import distill


@dataclasses.dataclass(frozen=True)
class DistillOptions:
    """How sources are translated."""

    first_rows: int | None  # lines of the corpus; None: all
    buckets: tuple[int, ...]  # outputs are limited by the padded width of their source
    seed: int


@dataclasses.dataclass(frozen=True)
class Distill(Stage[DistillOptions]):
    """Makes a `distilled` set: all rows in round 0, those of the E-steps in later rounds."""

    round: int
    data: str
    teacher: str

    kind: ClassVar[str] = "distill"

    def inputs(self) -> dict[str, str]:
        return {"vocabulary": paths.DATA, "data": maker_of(self.data), "teacher": self.teacher}

    def options(self, config: Config) -> DistillOptions:
        return DistillOptions(config.em.rows if self.round else None, config.data.buckets, config.seed)

    def run(self, options: DistillOptions, context: Context) -> None:
        distill(
            [context.load_model(context.directory / self.teacher, options.buckets)],
            context.directory / self.data,
            context.directory / self.output,
            num_candidates=1,
            vocabulary=context.vocabulary,
            first_rows=options.first_rows,
            seed=options.seed,
            workers=context.workers,
        )

    def programs(self, options: DistillOptions, target: Target) -> list[Program]:
        return [decode_program("distill with", "teacher", target, width=options.buckets[-1])]
