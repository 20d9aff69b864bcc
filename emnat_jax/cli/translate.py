"""Translate lines of text with any trained model of a workdir.

Examples:
  echo "Wo ist der Bahnhof?" | emnat translate
  emnat translate --workdir=runs/demo --role=teacher --round=0 --decoder=greedy --input=test.de --output=test.en
  emnat translate --role=student --length-candidates=9 --rescore=teacher --input=test.de
"""

from emnat_jax.cli.model import add_model, load_model
from emnat_jax.cli.options import add_workdir, open_workspace, read_config, read_lines, write_lines


def add_arguments(parser):
    add_workdir(parser)
    add_model(parser)
    parser.add_argument(
        "--input", metavar="FILE", help="lines to translate (.gz or not); default: standard input"
    )
    parser.add_argument("--output", metavar="FILE", help="default: standard output")


def run(args, config_arguments):
    work = open_workspace(read_config(config_arguments, args.workdir), args)
    model = load_model(work, args)
    if args.joined.is_first:
        write_lines(args.output, model.translate(read_lines(args.input)))
    else:  # it lends its devices
        model.translate([])
