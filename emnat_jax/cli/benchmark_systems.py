"""The systems that `emnat benchmark` times, and the sentences that they translate."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from emnat_jax.cli.streams import note
from emnat_jax.config import FAMILIES, ROLES
from emnat_jax.errors import require
from emnat_jax.runtime.cores import available_cores

if TYPE_CHECKING:
    from emnat_jax.em.workdir import Workspace
    from emnat_jax.profiling.samples import Sample
    from emnat_jax.profiling.system_names import SystemName
    from emnat_jax.profiling.systems import System
    from emnat_jax.report.timings import BatchTiming, Machine, Timing


@dataclasses.dataclass(frozen=True)
class Measured:
    """What is timed."""

    work: Workspace
    systems: Sequence[System]
    sample: Sample
    machine: Machine
    note: Callable[[str], None]

    def timing(self, system: System, batches: tuple[BatchTiming, ...]) -> Timing:
        """The record of one system's latency."""
        from emnat_jax.profiling.systems import drafting_of
        from emnat_jax.report.timings import Timing

        about = system.about
        return Timing(
            name=about.name,
            role=about.role,
            round=about.round,
            device=self.machine.devices,
            sentences=len(self.sample.lengths),
            bleu_signature=self.sample.bleu_signature,
            changes=dict(about.changes),
            batches=batches,
            backend=about.backend,
            precision=about.precision,
            machine=self.machine,
            drafting=drafting_of(system, self.sample),
        )


@contextlib.contextmanager
def measured_systems(work: Workspace, args: argparse.Namespace) -> Iterator[Measured]:
    """The systems that the options name, open; what random ones need on disk is removed at the end."""
    from emnat_jax.profiling.machine import this_machine

    say, threads = functools.partial(note, "benchmark"), available_cores()
    with tempfile.TemporaryDirectory() as folder:
        if args.random:
            systems, sample = _random(work, args, folder, threads)
        else:
            systems, sample = _of_workdir(work, args, threads, say)
        machine = this_machine(system.about.backend for system in systems)
        yield Measured(work, systems, sample, machine, say)


def _random(
    work: Workspace, args: argparse.Namespace, folder: str, threads: int
) -> tuple[list[System], Sample]:
    from emnat_jax.profiling.random_models import RandomSize
    from emnat_jax.profiling.random_systems import SPEED_TABLE_SYSTEMS, RandomSystems, default_names
    from emnat_jax.profiling.system_names import RANDOM_OPTIONS, Known, parse_systems

    require(
        not (args.systems and args.families), "--families names the systems of --random: leave out --systems."
    )
    size = RandomSize(args.size, args.vocab, args.length)
    known = Known(FAMILIES, RANDOM_OPTIONS, folders=False)
    if args.families:
        names = default_names(args.families.split(","))
    else:
        names = parse_systems(args.systems or SPEED_TABLE_SYSTEMS, known)
    systems = RandomSystems(size, work.layout, folder, threads).open(names)
    return systems, size.sample(args.sentences)


def _of_workdir(
    work: Workspace, args: argparse.Namespace, threads: int, say: Callable[[str], None]
) -> tuple[list[System], Sample]:
    from emnat_jax.artifacts import paths
    from emnat_jax.artifacts.dataset import read_dataset
    from emnat_jax.data.pairs import make_pairs
    from emnat_jax.evaluation.metrics import require_metrics
    from emnat_jax.profiling.open_systems import Opener, open_systems
    from emnat_jax.profiling.samples import text_sample, token_sample

    if args.what != "distill":
        require_metrics(work.config.scoring)  # missing now, not after all that is timed
    split = "train" if args.what == "distill" else work.config.data.splits[-1]
    split_rows = read_dataset(work.directory / paths.split(split))
    rows = list(itertools.islice(split_rows, args.sentences))
    systems = open_systems(Opener(work, threads, say), _names(args))
    if args.what == "distill":
        _require_vocabulary(work, systems)
        return systems, token_sample(make_pairs(rows))
    sources, references = [row.source_text for row in rows], [row.target_text for row in rows]
    longest = work.config.data.max_length
    return systems, text_sample(work.vocabulary, longest, sources, references, work.config.scoring)


def _require_vocabulary(work: Workspace, systems: Sequence[System]) -> None:
    """UserError for a system that would read the tokens of the workdir as others."""
    for system in systems:
        require(
            system.model.vocabulary.fingerprint == work.vocabulary.fingerprint,
            f"{system.about.name} has another vocabulary than {work.directory}; time it in its own workdir.",
        )


def _names(args: argparse.Namespace) -> list[SystemName]:
    """Those of --systems, or the one model of the other options."""
    from emnat_jax.profiling.system_names import DECODING, OPTIONS, Known, SystemName, parse_systems

    if args.systems:
        return parse_systems(args.systems, Known(ROLES, OPTIONS, folders=True))
    options = {name: str(value) for name in DECODING if (value := getattr(args, name)) is not None}
    role = args.role or ("teacher" if args.what == "distill" else "student")
    if args.what == "distill" and not args.model and role == "teacher":
        options = {"decoder": "greedy"} | options  # N widens the beam to N
    return [SystemName(args.model or role, options=options)]
