"""Write a trained model for other runtimes (ONNX, CTranslate2, StableHLO), with what it is worth there.

A student becomes ONNX files (float32, int8) for ONNX Runtime, a teacher a model of CTranslate2, and with
--format=stablehlo either becomes programs of its search, which JAX runs on any device. The folder holds the
vocabulary too and is all that `emnat translate --model=FOLDER` and `emnat_jax.load(FOLDER)` need. Sentences
of the validation split are translated before and after, and the manifest keeps how many are equal and the
BLEU of each precision.

Examples:
  emnat export
  emnat export --role=teacher --round=0 --output=teacher
  emnat export --model=runs/demo/rounds/0/student --output=student
  emnat export --shortlist=100 --output=fast
"""

import argparse
import functools

from emnat_jax.artifacts import paths
from emnat_jax.cli.configuration import read_config
from emnat_jax.cli.model import add_model, refuse_model_options, role_of
from emnat_jax.cli.options import add_json, add_workdir
from emnat_jax.cli.streams import note, show
from emnat_jax.cli.workspace import open_workspace
from emnat_jax.config.verified import DRAFTING, VERIFIED
from emnat_jax.errors import require
from emnat_jax.export.packages import FORMATS
from emnat_jax.runtime.processes import Processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `emnat export`."""
    add_workdir(parser)
    add_model(parser)
    parser.add_argument("--output", metavar="DIR", help=f"default: WORKDIR/{paths.EXPORTS}/ROLE")
    text = "default: onnx for a student, ctranslate2 for a teacher; stablehlo: any model, for JAX"
    parser.add_argument("--format", choices=FORMATS, help=text)
    text = "of the validation split, to compare on; default: 1000"
    parser.add_argument("--sentences", type=int, default=1_000, metavar="N", help=text)
    text = (
        "int8 looks for words of the output among the N that go best with each word of the source and the N "
        "most frequent ones; faster, and the export measures how often the output differs; default: among all"
    )
    parser.add_argument("--shortlist", type=int, metavar="N", help=text)
    add_json(parser, "what was measured")


def run(args: argparse.Namespace, config_arguments: list[str], processes: Processes) -> None:
    require(args.sentences >= 1, f"--sentences={args.sentences}: use 1 or more.")
    require(processes.count == 1, "export is of one process; start it on one host, without the others.")
    require(args.rescore is None, "--rescore: the exported model chooses alone; leave it out.")
    asked = [name for name in DRAFTING if getattr(args, name) is not None]
    require(
        not asked and args.decoder != VERIFIED,
        f"--decoder={VERIFIED}: an exported model decodes alone; export with --decoder=greedy.",
    )
    refuse_model_options(config_arguments)
    role = role_of(args)
    work = open_workspace(read_config(config_arguments, args.workdir), args.workdir, processes)
    from emnat_jax.em.export import make_export
    from emnat_jax.em.open_model import open_model

    decoding = {"decoder": args.decoder, "length_candidates": args.length_candidates}
    model = open_model(work, role, args.round, folder=args.model, **decoding)
    if args.model:  # named by its folder alone
        role = model.config.options.role
    output = args.output or work.directory / paths.EXPORTS / role
    log = functools.partial(note, "export")
    about = make_export(
        work, model, output, args.format, sentences=args.sentences, shortlist=args.shortlist, log=log
    )
    show(
        {"folder": str(output), "format": about.format, "precision": about.precision, **about.parity},
        args.json,
    )
