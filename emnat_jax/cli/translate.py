"""Translate lines of text with any trained model of a workdir.

Examples:
  echo "Wo ist der Bahnhof?" | emnat translate
  emnat translate --role=teacher --round=0 --decoder=greedy --input=test.de --output=test.en
  emnat translate --role=student --length-candidates=9 --rescore=teacher --input=test.de
"""

import argparse

from emnat_jax.cli.configuration import read_config
from emnat_jax.cli.model import add_model, load_model
from emnat_jax.cli.options import add_workdir
from emnat_jax.cli.streams import read_lines, write_lines
from emnat_jax.cli.workspace import open_workspace
from emnat_jax.runtime.processes import Processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `emnat translate`."""
    add_workdir(parser)
    add_model(parser)
    text = "lines to translate (.gz or not); default: standard input"
    parser.add_argument("--input", metavar="FILE", help=text)
    parser.add_argument("--output", metavar="FILE", help="default: standard output")


def run(args: argparse.Namespace, config_arguments: list[str], processes: Processes) -> None:
    """Translates, in all processes together; the first reads and writes."""
    work = open_workspace(read_config(config_arguments, args.workdir), args.workdir, processes)
    model = load_model(work, args)
    if processes.is_first:
        write_lines(args.output, model.translate(read_lines(args.input)))
    else:
        model.translate([])  # this process only lends its devices
