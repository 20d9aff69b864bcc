"""What the stages that ask models for translations have alike: which sources, how many, and the call."""

import dataclasses
from collections.abc import Mapping, Sequence

from emnat_jax.config import Config
from emnat_jax.em.context import Context
from emnat_jax.em.stages.programs import Program, Target, decode_program, sample_program
from emnat_jax.inference.distill import distill
from emnat_jax.inference.model import TrainedModel


@dataclasses.dataclass(frozen=True)
class ProposalOptions:
    """How many translations of which sources."""

    first_rows: int | None  # lines of the corpus; None: all
    buckets: tuple[int, ...]  # outputs are limited by the padded width of their source
    seed: int
    num_candidates: int = 1  # of each model
    samples: int = 0  # of the teacher, after its best
    temperature: float = 1.0  # of these
    include_reference: bool = False  # the reference is one more candidate

    def most(self, proposers: int) -> int:
        """Candidates of a source, at most, where so many models have proposed."""
        return proposers * self.num_candidates + self.samples + self.include_reference


def list_options(config: Config) -> ProposalOptions:
    """Of the lists that an E-step chooses from."""
    return ProposalOptions(
        first_rows=config.em.rows,
        buckets=config.data.buckets,
        seed=config.seed,
        num_candidates=config.em.candidates,
        samples=config.em.samples,
        temperature=config.em.temperature,
        include_reference=config.select.include_reference,
    )


def lists_have_references(config: Config) -> bool:
    """Whether the teacher's lists are made with the reference, for students that learn lists.

    Else it joins where they are scored, so that the search is the same with and without it.
    """
    return config.select.include_reference and config.em.student_data == "candidates"


def list_programs(options: ProposalOptions, role: str, target: Target) -> list[Program]:
    """Those by which the model of a role proposes."""
    width, count = options.buckets[-1], options.num_candidates
    programs = [decode_program(f"{count} candidates of", role, target, width=width, count=count)]
    if role == "teacher" and options.samples:
        draws = options.samples, options.temperature, options.seed
        programs.append(sample_program(role, target, *draws, width=width))
    return programs


def propose(
    context: Context,
    options: ProposalOptions,
    proposers: Sequence[TrainedModel],
    *,
    source: str,
    output: str,
    extends: bool = False,
    scorers: Mapping[str, TrainedModel] | None = None,
) -> None:
    """Makes the set `output` of what the proposers translate `source` to, beside the lists that it holds."""
    distill(
        proposers,
        context.directory / source,
        context.directory / output,
        num_candidates=options.num_candidates,
        samples=0 if extends else options.samples,  # a list that is extended has them
        temperature=options.temperature,
        include_reference=options.include_reference,
        extends=extends,
        vocabulary=context.vocabulary,
        scorers=scorers,
        first_rows=options.first_rows,
        seed=options.seed,
        workers=context.workers,
    )
