"""Translate the sources of a data set with a trained model and keep the N best, as records.

N = 1 makes a `distilled` set, N > 1 a `candidates` set. Killed and run again, it goes on.

Example:
  emnat distill --workdir=runs/demo --model=runs/demo/models/teacher --num-candidates=20 \\
    --output=runs/demo/candidates
"""

import argparse

from emnat_jax.artifacts import paths
from emnat_jax.cli.configuration import read_config
from emnat_jax.cli.options import add_json, add_workdir
from emnat_jax.cli.streams import show
from emnat_jax.cli.workspace import open_workspace
from emnat_jax.errors import UserError
from emnat_jax.runtime.processes import Processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `emnat distill`."""
    add_workdir(parser)
    parser.add_argument("--model", required=True, help="folder of a finished model")
    parser.add_argument("--data", help="the set with the sources; default: WORKDIR/data/train")
    parser.add_argument("--output", required=True, help="folder of the new set")
    parser.add_argument("--num-candidates", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument(
        "--include-reference", action="store_true", help="the reference is one more candidate"
    )
    add_json(parser, "the summary")


def run(args: argparse.Namespace, config_arguments: list[str], processes: Processes) -> None:
    if args.num_candidates < 1:
        raise UserError(f"--num-candidates={args.num_candidates}: use 1 or more.")
    work = open_workspace(read_config(config_arguments, args.workdir), args.workdir, processes)
    from emnat_jax.artifacts.journal import exclusive
    from emnat_jax.inference.distill import distill

    with processes.hold(str(args.output), exclusive(args.output)):
        manifest = distill(
            [work.load(args.model)],
            args.data or work.directory / paths.TRAIN,
            args.output,
            num_candidates=args.num_candidates,
            include_reference=args.include_reference,
            vocabulary=work.vocabulary,
            seed=work.config.seed,
            workers=work.workers,
        )
    summary = {
        "set": args.output,
        "kind": manifest.kind,
        "rows": manifest.rows_out,
        "dropped": manifest.dropped,
        "content_hash": manifest.content_hash,
    }
    show(summary, args.json)
