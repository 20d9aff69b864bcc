"""The teacher's N best translations of every source: a list that does not depend on the student."""

import dataclasses
from typing import ClassVar

from emnat_jax.artifacts import paths
from emnat_jax.config import Config
from emnat_jax.em.context import Context
from emnat_jax.em.stages.base import Stage, maker_of
from emnat_jax.em.stages.programs import Program, Target, decode_program
from emnat_jax.inference.distill import distill


@dataclasses.dataclass(frozen=True)
class NBestOptions:
    """How many candidates of which sources."""

    num_candidates: int
    include_reference: bool  # the reference is one more candidate
    first_rows: int | None  # lines of the corpus; None: all
    buckets: tuple[int, ...]
    seed: int


@dataclasses.dataclass(frozen=True)
class NBest(Stage[NBestOptions]):
    """Makes a `candidates` set with the teacher's scores."""

    round: int
    data: str
    teacher: str

    kind: ClassVar[str] = "n_best"

    def inputs(self) -> dict[str, str]:
        return {"vocabulary": paths.DATA, "data": maker_of(self.data), "teacher": self.teacher}

    def options(self, config: Config) -> NBestOptions:
        return NBestOptions(
            num_candidates=config.em.candidates,
            include_reference=config.select.include_reference,
            first_rows=config.em.rows,
            buckets=config.data.buckets,
            seed=config.seed,
        )

    def run(self, options: NBestOptions, context: Context) -> None:
        distill(
            [context.load_model(context.directory / self.teacher, options.buckets)],
            context.directory / self.data,
            context.directory / self.output,
            num_candidates=options.num_candidates,
            include_reference=options.include_reference,
            vocabulary=context.vocabulary,
            first_rows=options.first_rows,
            seed=options.seed,
            workers=context.workers,
        )

    def programs(self, options: NBestOptions, target: Target) -> list[Program]:
        verb, count = f"{options.num_candidates} candidates of", options.num_candidates
        return [decode_program(verb, "teacher", target, width=options.buckets[-1], count=count)]
