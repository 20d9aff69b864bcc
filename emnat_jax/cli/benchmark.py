"""Honest timings: one training step, or translation by batch size.

`train` times the compiled step of a role's configuration on random tokens and needs no data: the mean of
steps that follow one another without a wait, as in training.
`latency` times a finished model from raw lines to raw translations, in batches of exactly N sentences of
similar length, and keeps the times, with the BLEU of these sentences, for `emnat report`. Median and 95th
percentile are of at least 20 batches; where the sentences make fewer, they are translated several times.

Examples:
  emnat benchmark train --role=student --config.student.size=base --config.student.family=ctc
  emnat benchmark latency --workdir=runs/demo --role=student --round=2 --batch=1,8,32
"""

import argparse
import functools
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
    parser.add_argument(
        "--batch", default="1,8,32,128", metavar="N[,N]", help="latency: sizes; default: 1,8,32,128"
    )
    parser.add_argument("--sentences", type=int, default=128, metavar="N", help="latency; default: 128")
    add_json(parser, "the timings")


def run(args: argparse.Namespace, config_arguments: list[str], processes: Processes) -> None:
    from emnat_jax.tokens import NUM_SPECIAL

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
    """The timings, which are kept for the report's page as well."""
    from emnat_jax.artifacts.manifest import read_dataset
    from emnat_jax.em.latency import keep_latency
    from emnat_jax.em.open_model import last_round
    from emnat_jax.evaluation.bleu import signed_bleu
    from emnat_jax.evaluation.metrics import require_metrics
    from emnat_jax.profiling.latency import measure_latency, measured_sentences, one_batch

    require(work.processes.count == 1, "latency is of one process; start it on one host, without the others.")
    sizes, scoring = _sizes(args.batch), work.config.scoring
    require_metrics(scoring)
    rows = list(read_dataset(work.directory / paths.split(work.config.data.splits[-1])))[: args.sentences]
    references = [row.target_text for row in rows]
    model = load_model(work, args)
    sentences = measured_sentences(model, [row.source_text for row in rows], references)
    make_translate = functools.cache(functools.partial(one_batch, model, work.layout))
    batches = measure_latency(make_translate, sentences, sizes, work.config.data.buckets, scoring)
    index = last_round(work, args.role) if args.round is None and args.model is None else args.round
    changes = {name: value for name in DECODING if (value := getattr(args, name)) is not None}
    about = [] if args.model else [f"round {index}"]
    timing = Timing(
        name=", ".join([args.role, *about, *(f"{name}={value}" for name, value in changes.items())]),
        role=args.role,
        round=index,
        device=devices,
        sentences=len(rows),
        bleu_signature=signed_bleu(references, [references], scoring)[1],
        changes=changes,
        batches=batches,
    )
    keep_latency(work.directory, timing)
    return {
        "sentences": len(rows),
        "bleu_signature": timing.bleu_signature,
        **{f"batch_{item.batch}": item for item in batches},
    }


def _sizes(text: str) -> list[int]:
    sizes = [int(part) if part.isdigit() else 0 for part in text.split(",")]
    if min(sizes) < 1:
        raise UserError(f"--batch={text}: give numbers of sentences, e.g. 1,64.")
    return sizes
