"""Write the report of a workdir anew, from whatever is finished: one HTML page, JSON, a table.

Example:
  emnat report --workdir=runs/demo
"""

import argparse

from emnat_jax.artifacts import paths
from emnat_jax.cli.options import add_workdir, open_workspace, read_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_workdir(parser)
    parser.add_argument("--json", action="store_true", help="print the report as JSON instead of a table")


def run(args: argparse.Namespace, config_arguments: list[str]) -> None:
    work = open_workspace(read_config(config_arguments, args.workdir), args)
    from emnat_jax.em.driver import rebuild_report
    from emnat_jax.evaluation.bleu import require_library
    from emnat_jax.report.convert import dumps
    from emnat_jax.report.rounds import text_table

    require_library()
    work.check()
    report = args.joined.broadcast("report", lambda: rebuild_report(work))
    if args.json:
        print(dumps(report))
        return
    print(f"{text_table(report)}\npage: {work.directory / paths.REPORT_PAGE}")
