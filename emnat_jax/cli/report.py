"""Write the report of a workdir anew, from whatever is finished: one HTML page, JSON, a table.

Example:
  emnat report --workdir=runs/demo
"""

import json

from emnat_jax.cli.options import add_workdir, open_workspace, read_config


def add_arguments(parser):
    add_workdir(parser)
    parser.add_argument("--json", action="store_true", help="print the report as JSON instead of a table")


def run(args, config_arguments):
    work = open_workspace(read_config(config_arguments, args.workdir), args)
    from emnat_jax.em.driver import rebuild_report
    from emnat_jax.em.report import table
    from emnat_jax.evaluation.bleu import require_library

    require_library()
    work.check()
    report = args.joined.broadcast("report", lambda: rebuild_report(work))
    if args.json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
        return
    print(f"{table(report)}\npage: {work.directory / 'report' / 'index.html'}")
