"""sacreBLEU with its signature, chrF++, repetition and length ratio; paired significance of two systems.

Examples:
  emnat evaluate --workdir=runs/demo --role=student --round=2 --split=test
  emnat evaluate --hypotheses=out.en --references=test.en --baseline=other.en
  emnat evaluate --hypotheses=out.de --references=ref1.de,ref2.de --json
  emnat evaluate --workdir=runs/tatoeba --multi-references=test_multiref.tsv.gz
"""

import sys
from dataclasses import asdict

from emnat_jax.cli.model import add_model, load_model
from emnat_jax.cli.options import add_workdir, open_workspace, read_config, read_lines, show
from emnat_jax.data.multi_references import read_multi_references
from emnat_jax.errors import UserError


def add_arguments(parser):
    add_workdir(parser)
    add_model(parser)
    parser.add_argument(
        "--split", choices=("valid", "test"), default="test", help="of the workdir; default: test"
    )
    parser.add_argument("--hypotheses", metavar="FILE", help="score this file instead of a model's output")
    parser.add_argument("--references", metavar="FILE[,FILE]", help="raw reference lines, one file a set")
    parser.add_argument(
        "--multi-references", metavar="FILE", help="lines of source, TAB, its references, TAB between them; a model"
        " translates the sources, or --hypotheses has done so",
    )  # fmt: skip
    parser.add_argument(
        "--baseline", metavar="FILE", help="output of another system, for the paired bootstrap"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(args, config_arguments):
    from emnat_jax.evaluation.bleu import paired_significance

    if args.references is not None and args.multi_references is not None:
        raise UserError("--references and --multi-references: give one of them.")
    if args.hypotheses is None and args.references is not None:
        raise UserError("--hypotheses and --references go together.")
    if args.hypotheses is not None and args.references is None and args.multi_references is None:
        raise UserError("--hypotheses and --references (or --multi-references) go together.")
    measure = _files if args.hypotheses else _model_outputs
    figures, outputs, references = measure(args, config_arguments)
    if args.baseline and args.joined.is_first:
        compared = paired_significance(outputs, read_lines(args.baseline), references)
        figures["significance"] = {name: asdict(result) for name, result in compared.items()}
    show(figures, args.json)


def _files(args, config_arguments):
    from emnat_jax.evaluation.bleu import quality

    if not args.joined.is_first:
        return {}, [], []
    outputs = read_lines(args.hypotheses)
    if args.multi_references:
        _, references = read_multi_references(_stream(args.multi_references))
    else:
        references = [read_lines(path) for path in args.references.split(",")]
    return asdict(quality(outputs, references)), outputs, references


def _model_outputs(args, config_arguments):
    work = open_workspace(read_config(config_arguments, args.workdir), args)
    from emnat_jax.artifacts.manifest import read_dataset
    from emnat_jax.em.evaluate import figures

    translate = load_model(work, args).translate
    if not args.joined.is_first:  # it lends its devices
        translate([])
        return {}, [], []
    if args.multi_references:
        from emnat_jax.evaluation.bleu import quality

        sources, references = read_multi_references(_stream(args.multi_references))
        outputs = translate(sources)
        return asdict(quality(outputs, references)), outputs, references
    rows = list(read_dataset(work.directory / "data" / args.split))
    outputs = translate([row.source_text for row in rows])
    return figures(work, outputs, rows), outputs, [[row.target_text for row in rows]]


def _stream(path):
    """A path, or standard input for "-"."""
    return sys.stdin.buffer if path == "-" else path
