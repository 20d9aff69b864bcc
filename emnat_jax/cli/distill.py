"""Translate the sources of a data set with a trained model and keep the N best, as records.

N = 1 makes a `distilled` set, N > 1 or `--samples` a `candidates` set. Killed and run again, it goes on.

Example:
  emnat distill --workdir=runs/demo --model=runs/demo/models/teacher --num-candidates=20 \\
    --output=runs/demo/candidates
  emnat distill --workdir=runs/demo --model=runs/demo/models/teacher --samples=19 --output=runs/demo/samples
  emnat distill --workdir=runs/demo --model=runs/demo/exports/teacher --output=runs/demo/distilled
  emnat distill --workdir=runs/demo --model=runs/demo/rounds/1/teacher --decoder=verified \\
    --draft=runs/demo/rounds/0/student --output=runs/demo/distilled
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from emnat_jax.artifacts import paths
from emnat_jax.cli.configuration import read_config
from emnat_jax.cli.model import (
    add_drafting,
    add_exported,
    open_drafted,
    refuse_exported,
    refuse_model_options,
)
from emnat_jax.cli.options import add_json, add_workdir
from emnat_jax.cli.streams import show
from emnat_jax.cli.workspace import open_workspace
from emnat_jax.config.verified import DRAFTING
from emnat_jax.errors import UserError, require
from emnat_jax.runtime.processes import Processes

if TYPE_CHECKING:
    from emnat_jax.em.workdir import Workspace
    from emnat_jax.inference.translator import Translator


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `emnat distill`."""
    add_workdir(parser)
    parser.add_argument("--model", required=True, help="folder of a finished or an exported model")
    parser.add_argument("--data", help="the set with the sources; default: WORKDIR/data/train")
    parser.add_argument("--output", required=True, help="folder of the new set")
    parser.add_argument("--num-candidates", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument(
        "--samples", type=int, default=0, metavar="N", help="draws from a teacher after its best; default: 0"
    )
    parser.add_argument(
        "--temperature",
        type=float,
        metavar="T",
        help="of the draws: tokens are drawn from p^(1/T); default: 1.0",
    )
    parser.add_argument(
        "--include-reference", action="store_true", help="the reference is one more candidate"
    )
    text = "greedy, beam, or verified, which gives what greedy does; default: the model's own"
    parser.add_argument("--decoder", help=text)
    add_exported(parser)
    add_drafting(parser)
    add_json(parser, "the summary")


def run(args: argparse.Namespace, config_arguments: list[str], processes: Processes) -> None:
    if args.num_candidates < 1:
        raise UserError(f"--num-candidates={args.num_candidates}: use 1 or more.")
    temperature = _temperature(args)
    refuse_model_options(config_arguments)
    work = open_workspace(read_config(config_arguments, args.workdir), args.workdir, processes)
    from emnat_jax.artifacts.journal import output_lock
    from emnat_jax.inference.distill import distill

    with processes.hold(args.output, output_lock(args.workdir)):
        manifest = distill(
            [_proposer(work, args)],
            args.data or work.directory / paths.TRAIN,
            args.output,
            num_candidates=args.num_candidates,
            samples=args.samples,
            temperature=temperature,
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


def _temperature(args: argparse.Namespace) -> float:
    """That of the draws; UserError where there can not be such draws."""
    temperature = args.temperature
    require(args.samples >= 0, f"--samples={args.samples}: use 0 or more.")
    require(temperature is None or temperature > 0, f"--temperature={temperature}: use a positive number.")
    require(
        temperature is None or args.samples > 0,
        f"--temperature={temperature} is that of draws; add --samples=N, or leave it out.",
    )
    return 1.0 if temperature is None else temperature


def _proposer(work: Workspace, args: argparse.Namespace) -> Translator:
    """The trained model of a folder, or the exported one."""
    from emnat_jax.export.folder import is_exported

    if is_exported(args.model):
        from emnat_jax.export.load import load_exported

        for name in ("decoder", *DRAFTING):
            option = f"--{name.replace('_', '-')}"
            require(getattr(args, name) is None, f"{option}: {args.model} translates as it was exported.")
        return load_exported(args.model, args.precision, args.threads)
    refuse_exported(args, "give the folder of one as --model")
    return open_drafted(work, args)
