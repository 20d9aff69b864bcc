"""The E-step: of each source's candidates what the rule chooses."""

import dataclasses
from typing import ClassVar

from emnat_jax.artifacts import paths
from emnat_jax.config import ROLES, Config, Scoring, SelectConfig
from emnat_jax.em.context import Context, derived_seed
from emnat_jax.em.stages.base import Stage, maker_of
from emnat_jax.estep.selection import select


@dataclasses.dataclass(frozen=True)
class SelectOptions:
    """The rule, the seed of what it draws, and how it compares candidates with references."""

    select: SelectConfig
    seed: int
    scoring: Scoring

    @classmethod
    def of(cls, config: Config, index: int) -> "SelectOptions":
        """Those of the E-step after round `index`."""
        return cls(config.select, derived_seed(config.seed, index, len(ROLES)), selection_scoring(config))


def selection_scoring(config: Config) -> Scoring:
    """Of the configured scoring what the choice depends on; the defaults stand for the rest."""
    select, scoring = config.select, config.scoring
    if not select.needs_quality:
        return Scoring()
    tokenizer = scoring.tokenizer if select.quality == "bleu" else Scoring.tokenizer
    return Scoring(tokenizer, scoring.lowercase)


@dataclasses.dataclass(frozen=True)
class Select(Stage[SelectOptions]):
    """Makes a `selected` set."""

    round: int
    data: str

    kind: ClassVar[str] = "select"
    may_end_rounds: ClassVar[bool] = True

    def inputs(self) -> dict[str, str]:
        return {"vocabulary": paths.DATA, "data": maker_of(self.data)}

    def fingerprints(self) -> dict[str, str]:
        return {"source": self.data}

    def keeps_fingerprints_of(self) -> str:
        return self.data

    def options(self, config: Config) -> SelectOptions:
        return SelectOptions.of(config, self.round)

    def run(self, options: SelectOptions, context: Context) -> None:
        select(
            context.directory / self.data,
            context.directory / self.output,
            options.select,
            vocabulary=context.vocabulary,
            seed=options.seed,
            scoring=options.scoring,
            workers=context.workers,
        )
