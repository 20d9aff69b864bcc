"""`emnat benchmark growth`: time and memory of each stage by corpus, length, batch, N and vocabulary."""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from emnat_jax.cli.streams import note, show
from emnat_jax.config import FAMILIES
from emnat_jax.errors import require

if TYPE_CHECKING:
    from emnat_jax.profiling.growth import Plan
    from emnat_jax.report.growth import Growth

# Where the series start, unless told; of the options that the other benchmarks have as well.
BASE = {"sentences": 1_000, "length": 16, "batch": "8", "num_candidates": "4", "vocab": 1_000, "size": "tiny"}
BASE |= {"families": "vanilla"}
ONLY_GROWTH = ("stages", "vary", "points", "output")
FILES = ("growth.json", "growth.svg")
LEAST_VOCAB = 40  # letters and special ids
CHILD = "emnat_jax.cli.growth_point"


def add_growth(parser: argparse.ArgumentParser) -> None:
    """The options that no other benchmark has."""
    from emnat_jax.profiling.growth import QUANTITIES, STAGES

    text = "growth: --sentences, --length, --batch, --num-candidates and --vocab are where it starts"
    group = parser.add_argument_group(text)
    group.add_argument("--stages", metavar="A,B", help=f"some of {', '.join(STAGES)}; default: all")
    text = f"what grows: some of {', '.join(QUANTITIES)}; default: all"
    group.add_argument("--vary", metavar="A,B", help=text)
    group.add_argument("--points", type=int, metavar="N", help="values of each, doubled; default: 4")
    group.add_argument("--output", metavar="DIR", help=f"a new folder for {' and '.join(FILES)}")


def run_growth(args: argparse.Namespace) -> None:
    """Prints the table or the record, and writes it with the plot where a folder is named."""
    from emnat_jax.profiling.growth import measure_growth
    from emnat_jax.report.convert import SCHEMA_VERSION, to_json
    from emnat_jax.report.growth import growth_text

    plan = _plan(args)
    _require_new(args.output)
    say = functools.partial(note, "benchmark")
    growth = measure_growth(plan, [sys.executable, "-m", CHILD], say)
    if args.output is not None:
        _write(growth, Path(args.output))
    if args.json:
        show({"schema_version": SCHEMA_VERSION, **to_json(growth)}, as_json=True)
    else:
        print(growth_text(growth))


def _plan(args: argparse.Namespace) -> Plan:
    """UserError for anything that is wrong before a process is started."""
    from emnat_jax.profiling.growth import QUANTITIES, STAGES, Models, Plan, lines_of
    from emnat_jax.report.growth import Place

    points = 4 if args.points is None else args.points
    require(points >= 2, f"--points={points}: use 2 or more; growth is seen between two.")
    require(args.length >= 2, f"--length={args.length}: use 2 or more, EOS is one of them.")
    require(
        args.vocab >= LEAST_VOCAB,
        f"--vocab={args.vocab}: use {LEAST_VOCAB} or more, for letters of the text.",
    )
    students = [name for name, spec in FAMILIES.items() if spec.options.is_parallel]
    require(
        args.families in students,
        f"--families={args.families}: give one student family for growth: {', '.join(students)}.",
    )
    for name in ("batch", "num_candidates"):
        values = getattr(args, name)
        option = f"--{name.replace('_', '-')}"
        require(
            len(values) == 1,
            f"{option}={','.join(map(str, values))}: growth doubles from one number on; give that.",
        )
    base = Place(args.sentences, args.length, args.batch[0], args.num_candidates[0], args.vocab)
    stages = list(STAGES) if args.stages is None else args.stages.split(",")
    quantities = list(QUANTITIES) if args.vary is None else args.vary.split(",")
    models = Models(args.size, args.families, shard_rows=args.sentences)
    return Plan(models, base, points, lines_of(stages, quantities))


def _require_new(output: str | None) -> None:
    if output is None:
        return
    folder = Path(output)
    require(folder.is_dir() or not folder.exists(), f"--output={output} is a file; name a folder.")
    there = [name for name in FILES if (folder / name).exists()]
    require(not there, f"--output={output} has {' and '.join(there)} already; name another folder.")


def _write(growth: Growth, folder: Path) -> None:
    from emnat_jax.artifacts.atomic import write_text
    from emnat_jax.report.convert import dumps
    from emnat_jax.report.growth_chart import growth_svg

    record, plot = FILES
    write_text(folder / record, f"{dumps(growth)}\n")
    write_text(folder / plot, f"{growth_svg(growth)}\n")
