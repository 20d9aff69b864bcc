"""Run or resume all EM rounds in a workdir and write the report.

Killed at any moment and started again, it goes on where it was. --plan changes nothing and ends with
status 0, whatever would be refused.

Examples:
  emnat em                                                  the bundled German-English demo
  emnat em --config=configs/modes.py --workdir=runs/modes
  emnat em --config.em.rounds=3 --workdir=runs/three --plan
"""

import argparse

from emnat_jax.artifacts import paths
from emnat_jax.cli.configuration import read_config
from emnat_jax.cli.options import add_json, add_workdir
from emnat_jax.cli.workspace import open_workspace
from emnat_jax.errors import require
from emnat_jax.runtime.processes import Processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `emnat em`."""
    add_workdir(parser)
    text = "print the stages: finished, to do, to start anew; what would be refused and what is in its way"
    parser.add_argument("--plan", action="store_true", help=text)
    add_json(parser, "the report")


def run(args: argparse.Namespace, config_arguments: list[str], processes: Processes) -> None:
    require(
        not (args.plan and args.json), "--json prints the report, which --plan does not make: leave it out."
    )
    config = read_config(config_arguments, args.workdir)
    if args.plan:
        from emnat_jax.em.resume import describe

        print(describe(args.workdir, config))
        return
    work = open_workspace(config, args.workdir, processes)
    from emnat_jax.em.driver import run as run_em
    from emnat_jax.report.convert import dumps
    from emnat_jax.report.rounds import text_table

    report = run_em(work)
    if args.json:
        print(dumps(report))
        return
    print(text_table(report))
    print(f"workdir: {work.directory}\nreport:  {work.directory / paths.REPORT_PAGE}")
