"""The E-step: of each source's candidates what the rule chooses."""

import dataclasses
from typing import ClassVar

from emnat_jax.artifacts import paths
from emnat_jax.config import ROLES, Config, SelectConfig
from emnat_jax.em.context import Context, derived_seed
from emnat_jax.em.stages.base import Stage, maker_of
from emnat_jax.estep.selection import select


@dataclasses.dataclass(frozen=True)
class SelectOptions:
    """The rule, and the seed of what it draws."""

    select: SelectConfig
    seed: int


@dataclasses.dataclass(frozen=True)
class Select(Stage[SelectOptions]):
    """Makes a `selected` set."""

    round: int
    data: str

    kind: ClassVar[str] = "select"
    may_end_rounds: ClassVar[bool] = True

    def inputs(self) -> dict[str, str]:
        return {"vocabulary": paths.DATA, "data": maker_of(self.data)}

    def options(self, config: Config) -> SelectOptions:
        return SelectOptions(config.select, derived_seed(config.seed, self.round, len(ROLES)))

    def run(self, options: SelectOptions, context: Context) -> None:
        select(
            context.directory / self.data,
            context.directory / self.output,
            options.select,
            vocabulary=context.vocabulary,
            seed=options.seed,
            workers=context.workers,
        )
