"""Honest timings: one training step, or translation by batch size.

`train` times the compiled step of a role's configuration on random tokens and needs no data.
`latency` times a finished model from raw lines to raw translations, and keeps the timings, with the BLEU of
the test split decoded that way, for `emnat report`.

Examples:
  emnat benchmark train --role=student --config.student.size=base --config.student.family=ctc
  emnat benchmark latency --workdir=runs/demo --role=student --round=2 --batch=1,64
"""

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from emnat_jax.artifacts import paths
from emnat_jax.cli.configuration import read_config
from emnat_jax.cli.model import add_model, load_model
from emnat_jax.cli.options import add_json, add_workdir
from emnat_jax.cli.streams import show
from emnat_jax.cli.workspace import open_workspace
from emnat_jax.errors import UserError, require
from emnat_jax.report.record import Timing
from emnat_jax.runtime.processes import Processes

if TYPE_CHECKING:
    from emnat_jax.artifacts.records import Row
    from emnat_jax.em.workdir import Workspace

DECODING = ("model", "decoder", "length_candidates", "rescore")  # options that the rounds did not decode with


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `emnat benchmark`."""
    parser.add_argument("what", choices=("train", "latency"))
    add_workdir(parser)
    add_model(parser)
    parser.add_argument("--rows", type=int, default=64, metavar="N", help="train: rows; default: 64")
    parser.add_argument("--length", type=int, default=25, metavar="N", help="train: tokens; default: 25")
    parser.add_argument("--vocab", type=int, default=10_000, metavar="N", help="train: ids; default: 10000")
    parser.add_argument("--repeats", type=int, default=10, metavar="N", help="train: steps; default: 10")
    parser.add_argument("--batch", default="1,64", metavar="N[,N]", help="latency: sizes; default: 1,64")
    parser.add_argument("--sentences", type=int, default=128, metavar="N", help="latency; default: 128")
    add_json(parser, "the timings")


def run(args: argparse.Namespace, config_arguments: list[str], processes: Processes) -> None:
    from emnat_jax.types import NUM_SPECIAL

    for name in ("rows", "length", "repeats", "sentences"):
        require(getattr(args, name) >= 1, f"--{name}={getattr(args, name)}: use 1 or more.")
    require(args.vocab > NUM_SPECIAL, f"--vocab={args.vocab}: use more than the {NUM_SPECIAL} special ids.")
    work = open_workspace(read_config(config_arguments, args.workdir), args.workdir, processes)
    from emnat_jax.em.report import environment

    here = environment()
    measure = _train if args.what == "train" else _latency
    measured = measure(work, args, here.devices)
    show({"devices": here.devices, "jax": here.versions["jax"], **measured}, args.json)


def _train(work: "Workspace", args: argparse.Namespace, devices: str) -> dict[str, Any]:
    from emnat_jax.profiling.benchmark import BatchShape, measure_loss, measure_training

    role = work.config.role(args.role)
    model = role.model.resolve(args.vocab, args.length)
    shape = BatchShape(args.rows, args.length, args.length)
    timing = measure_training(model, role.train, work.layout, shape, args.repeats)
    loss_ms = measure_loss(model, shape, args.repeats)
    return {**shape._asdict(), **vars(timing), "loss_alone_ms": loss_ms}


def _latency(work: "Workspace", args: argparse.Namespace, devices: str) -> dict[str, Any]:
    """The timings; the first process keeps them for the report's page."""
    from emnat_jax.artifacts.manifest import read_dataset
    from emnat_jax.em.latency import keep_latency
    from emnat_jax.em.load import last_round
    from emnat_jax.profiling.benchmark import measure_latency

    sizes = _sizes(args.batch)
    rows = list(read_dataset(work.directory / paths.split("test")))
    lines = [row.source_text for row in rows[: args.sentences]]
    translators = {size: load_model(_decoding(work, size), args).translate for size in sizes}
    batches = measure_latency(translators, lines)
    index = last_round(work, args.role) if args.round is None and args.model is None else args.round
    changes = {name: value for name in DECODING if (value := getattr(args, name)) is not None}
    about = [] if args.model else [f"round {index}"]
    timing = Timing(
        name=", ".join([args.role, *about, *(f"{name}={value}" for name, value in changes.items())]),
        role=args.role,
        round=index,
        device=devices,
        bleu=_bleu(work, args.role, None if changes else index, translators[max(sizes)], rows),
        changes=changes,
        batches=batches,
    )
    if work.processes.is_first:
        keep_latency(work.directory, timing)
    return {
        "sentences": len(lines),
        "bleu": timing.bleu,
        **{f"batch_{item.batch}": item for item in batches},
    }


def _bleu(
    work: "Workspace",
    role: str,
    index: int | None,
    translate: Callable[[Sequence[str]], list[str]],
    rows: "Sequence[Row]",
) -> float:
    """Of the whole test split: that of the round `index` (None: of no round), else of a new translation."""
    from emnat_jax.em.results import round_bleu
    from emnat_jax.evaluation.bleu import corpus_bleu

    bleu = None if index is None else round_bleu(work.directory, role, index)
    if bleu is not None:
        return bleu
    outputs = translate([row.source_text for row in rows])
    return corpus_bleu(outputs, [[row.target_text for row in rows]])


def _decoding(work: "Workspace", size: int) -> "Workspace":
    """The same workspace, decoding `size` rows at a time."""
    data = dataclasses.replace(work.config.data, decode_rows=size)
    return type(work)(dataclasses.replace(work.config, data=data), work.directory, work.log, work.processes)


def _sizes(text: str) -> list[int]:
    sizes = [int(part) if part.isdigit() else 0 for part in text.split(",")]
    if min(sizes) < 1:
        raise UserError(f"--batch={text}: give numbers of sentences, e.g. 1,64.")
    return sizes
