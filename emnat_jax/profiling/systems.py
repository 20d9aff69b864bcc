"""What is timed: a model, what runs it, and how it takes its batches."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

from emnat_jax.config import DataConfig
from emnat_jax.inference.model import TrainedModel
from emnat_jax.inference.translator import Translator
from emnat_jax.inference.verified import VerifiedModel
from emnat_jax.profiling.samples import Sample
from emnat_jax.report.timings import Drafting
from emnat_jax.runtime.mesh import Layout, row_shares

ROWS, TOKENS = "rows", "tokens"
SMALLEST = {ROWS: 8, TOKENS: 256}  # batch that is tried when the best one is looked for


@dataclasses.dataclass(frozen=True)
class About:
    """What a system is, for tables and records."""

    name: str
    role: str  # teacher or student
    round: int | None  # None of a model that is named by its folder, or has random weights
    backend: str
    precision: str
    changes: Mapping[str, str | int | float] = dataclasses.field(default_factory=dict)  # of its own decoding


@dataclasses.dataclass(frozen=True)
class System:
    """A model under the clock."""

    about: About
    model: Translator
    unit: str  # of its batches: ROWS or TOKENS of the sources
    of_size: Callable[[int], Translator]  # with batches of at most so many
    # (rows, tokens of the longest) -> what takes so many sources as they are handed over
    at_once: Callable[[int, int], Translator]


def trained_system(
    about: About, model: TrainedModel | VerifiedModel, layout: Layout, buckets: tuple[int, ...]
) -> System:
    """A model that JAX runs: as one batch of a number of rows, over all devices."""

    @functools.cache
    def with_batches(rows: int, buckets: tuple[int, ...]) -> TrainedModel | VerifiedModel:
        # Where the devices do not divide the rows, each has as many as the one with the most.
        data = DataConfig(buckets=buckets, decode_rows=-(-rows // row_shares(layout)))
        return model.batched(data, layout)

    def at_once(rows: int, longest: int) -> TrainedModel | VerifiedModel:
        width = next((bucket for bucket in buckets if longest <= bucket), longest)
        return with_batches(rows, (width,))

    return System(about, model, ROWS, lambda rows: with_batches(rows, buckets), at_once)


def drafting_of(system: System, sample: Sample) -> Drafting | None:
    """What a system that checks drafts takes for a sample; None of any other."""
    found = system.model.count_passes(sample.pairs(system.model))
    if found is None:
        return None
    lossless = not {"accept_top", "accept_margin"} & system.about.changes.keys()
    return Drafting(found.of_a_sentence, found.tokens_of_one, lossless)


def exported_system(about: About, model: Translator) -> System:
    """An exported model, which has no fixed shapes: it cuts what is handed over as it does for users."""

    def of_size(tokens: int) -> Translator:
        return dataclasses.replace(model, batch_tokens=tokens)  # type: ignore[type-var]

    return System(about, model, TOKENS, of_size, lambda rows, longest: model)
