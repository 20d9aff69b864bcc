"""Write the report of a workdir anew, from whatever is finished: one HTML page, JSON, a table.

Example:
  emnat report --workdir=runs/demo
"""

import argparse

from emnat_jax.artifacts import paths
from emnat_jax.cli.configuration import read_config
from emnat_jax.cli.options import add_json, add_workdir
from emnat_jax.cli.workspace import open_workspace
from emnat_jax.runtime.processes import Processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `emnat report`."""
    add_workdir(parser)
    add_json(parser, "the report")


def run(args: argparse.Namespace, config_arguments: list[str], processes: Processes) -> None:
    work = open_workspace(read_config(config_arguments, args.workdir), args.workdir, processes)
    from emnat_jax.em.driver import rebuild_report
    from emnat_jax.report.convert import dumps
    from emnat_jax.report.record import Report
    from emnat_jax.report.rounds import text_table

    work.check()
    report = processes.broadcast_record("report", Report, lambda: rebuild_report(work))
    if args.json:
        print(dumps(report))
        return
    print(f"{text_table(report)}\npage: {work.directory / paths.REPORT_PAGE}")
