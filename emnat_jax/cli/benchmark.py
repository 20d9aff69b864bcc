"""Honest timings: one training update, or translation by batch size.

`train` times the compiled update of a role's configuration on random tokens and needs no data.
`latency` times a finished model from raw lines to raw translations, and keeps the figures, with the BLEU of
the test split decoded that way, for `emnat report`.

Examples:
  emnat benchmark train --role=student --config.student.size=base --config.student.family=ctc
  emnat benchmark latency --workdir=runs/demo --role=student --round=2 --batch=1,64
"""

import dataclasses

from emnat_jax.cli.model import add_model, load_model
from emnat_jax.cli.options import add_workdir, open_workspace, read_config, show
from emnat_jax.errors import UserError


def add_arguments(parser):
    parser.add_argument("what", choices=("train", "latency"))
    add_workdir(parser)
    add_model(parser)
    parser.add_argument("--rows", type=int, default=64, metavar="N", help="train: rows; default: 64")
    parser.add_argument("--length", type=int, default=25, metavar="N", help="train: tokens; default: 25")
    parser.add_argument("--vocab", type=int, default=10_000, metavar="N", help="train: ids; default: 10000")
    parser.add_argument("--repeats", type=int, default=10, metavar="N", help="train: updates; default: 10")
    parser.add_argument("--batch", default="1,64", metavar="N[,N]", help="latency: sizes; default: 1,64")
    parser.add_argument("--sentences", type=int, default=128, metavar="N", help="latency; default: 128")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(args, config_arguments):
    from emnat_jax.types import NUM_SPECIAL

    for name in ("rows", "length", "repeats", "sentences"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name}={getattr(args, name)}: use 1 or more.")
    if args.vocab <= NUM_SPECIAL:
        raise UserError(f"--vocab={args.vocab}: use more than the {NUM_SPECIAL} special ids.")
    work = open_workspace(read_config(config_arguments, args.workdir), args)
    from emnat_jax.profiling.benchmark import environment

    figures = _train(work, args) if args.what == "train" else _latency(work, args)
    show(environment() | figures, args.json)


def _train(work, args):
    from emnat_jax.profiling.benchmark import measure_loss, measure_training

    config = work.config
    role = config.role(args.role)
    model, train = role.model.resolve(args.vocab, args.length), role.train
    size = {"rows": args.rows, "source": args.length, "target": args.length}
    figures = measure_training(model, train, work.layout, repeats=args.repeats, **size)
    return size | figures | measure_loss(model, repeats=args.repeats, **size)


def _latency(work, args):
    from emnat_jax.artifacts.manifest import read_dataset
    from emnat_jax.profiling.benchmark import measure_latency

    sizes = _sizes(args.batch)
    rows = list(read_dataset(work.directory / "data" / "test"))
    lines = [row.source_text for row in rows[: args.sentences]]
    translators = {size: load_model(_decoding(work, size), args).translate for size in sizes}
    figures = measure_latency(translators, lines)
    bleu = _keep(work, args, figures, translators[max(sizes)], rows)
    return {"sentences": len(lines), "bleu": bleu} | figures


def _keep(work, args, figures, translate, rows):
    """Keeps the timing for the report's page; the BLEU beside it, of the whole test split.

    That is the round's own where it decoded the same way; else the split is translated once more.
    """
    from emnat_jax.em.details import keep_latency, round_bleu
    from emnat_jax.em.load import last_round
    from emnat_jax.evaluation.bleu import corpus_bleu
    from emnat_jax.profiling.benchmark import environment

    index = args.round
    if index is None and args.model is None:
        index = last_round(work, args.role)
    changes = {name: getattr(args, name) for name in ("model", "decoder", "length_candidates", "rescore")}
    changes = {name: value for name, value in changes.items() if value is not None}
    bleu = None if changes else round_bleu(work, args.role, index)
    if bleu is None:
        outputs = translate([row.source_text for row in rows])
        bleu = corpus_bleu(outputs, [[row.target_text for row in rows]])
    about = [] if args.model else [f"round {index}"]
    name = ", ".join([args.role, *about, *(f"{key}={value}" for key, value in changes.items())])
    device = "{devices} x {device}".format(**environment())
    if args.joined.is_first:
        timing = {"name": name, "role": args.role, "round": index, "changes": changes, "device": device}
        keep_latency(work, timing | {"bleu": bleu, "figures": figures})
    return bleu


def _decoding(work, size: int):
    """The same workspace, decoding `size` rows at a time."""
    data = dataclasses.replace(work.config.data, decode_rows=size)
    return type(work)(dataclasses.replace(work.config, data=data), work.directory, work.log, work.processes)


def _sizes(text: str) -> list[int]:
    sizes = [int(part) if part.isdigit() else 0 for part in text.split(",")]
    if min(sizes) < 1:
        raise UserError(f"--batch={text}: give numbers of sentences, e.g. 1,64.")
    return sizes
