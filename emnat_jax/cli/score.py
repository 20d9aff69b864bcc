"""log p(target | source) in nats of a trained model: of text pairs, or as a new column of a data set.

Examples:
  emnat score --workdir=runs/demo --model=runs/demo/rounds/0/student --source=a.de --target=a.en
  emnat score --workdir=runs/demo --model=runs/demo/models/student --data=runs/demo/candidates \\
    --column=student_log_prob --output=runs/demo/scored
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from emnat_jax.cli.configuration import read_config
from emnat_jax.cli.options import add_workdir
from emnat_jax.cli.streams import read_lines, show, write_lines
from emnat_jax.cli.workspace import open_workspace
from emnat_jax.errors import UserError
from emnat_jax.runtime.processes import Processes

if TYPE_CHECKING:
    from emnat_jax.em.workdir import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `emnat score`."""
    add_workdir(parser)
    parser.add_argument("--model", required=True, help="folder of a finished model")
    parser.add_argument("--source", help="file of source lines")
    parser.add_argument("--target", help="file of target lines; a score a line is written")
    parser.add_argument("--data", help="a distilled, candidates or selected set instead of files")
    parser.add_argument(
        "--column", default="student_log_prob", help="name of the new column; default: student_log_prob"
    )
    parser.add_argument(
        "--output", help="file of scores (default: standard output), or folder of the new set"
    )


def run(args: argparse.Namespace, config_arguments: list[str], processes: Processes) -> None:
    texts = args.source is not None and args.target is not None
    if texts == (args.data is not None):
        raise UserError("give --source and --target, or --data and --output.")
    if args.data and not args.output:
        raise UserError("--data needs --output, the folder of the set with the new column.")
    work = open_workspace(read_config(config_arguments, args.workdir), args.workdir, processes)
    if args.data:
        _score_set(work, args)
    else:
        _score_texts(work, args)


def _score_set(work: Workspace, args: argparse.Namespace) -> None:
    from emnat_jax.artifacts.journal import exclusive
    from emnat_jax.inference.distill import add_score_columns

    scorers = {args.column: work.load(args.model)}
    with work.processes.hold(str(args.output), exclusive(args.output)):
        manifest = add_score_columns(
            args.data, args.output, scorers, vocabulary=work.vocabulary, workers=work.workers
        )
    show({"set": args.output, "column": args.column, "rows": manifest.rows_out}, False)


def _score_texts(work: Workspace, args: argparse.Namespace) -> None:
    from emnat_jax.inference.sentences import encode_lines, require_fits, sentence_pairs

    model = work.load(args.model)
    if not work.processes.is_first:
        model.score([], [])  # this process only lends its devices
        return
    sources, targets = read_lines(args.source), read_lines(args.target)
    if len(sources) != len(targets):
        raise UserError(
            f"{args.source} has {len(sources)} lines, {args.target} has {len(targets)}; give files of the "
            "same lines."
        )
    sides = [encode_lines(lines, work.vocabulary, None) for lines in (sources, targets)]
    for path, side in zip((args.source, args.target), sides, strict=True):
        require_fits(f"{path}:", side, model.max_length)
    scores = model.score_pairs(sentence_pairs(*sides))
    write_lines(args.output, [f"{score:.6f}" for score in scores])
