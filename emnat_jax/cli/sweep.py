"""Run a grid of configurations and seeds in one workdir: what its runs have in common is made once.

The configuration file has get_config(), what all runs share, and get_grid(): {group: {cell: {key: value}}}.
The first cell of a group is what the others are compared with, unless --over names another. Each run is a
workdir in WORKDIR/cells/GROUP/CELL/SEED that every command opens. Killed and run again, the sweep goes on;
two of them in one workdir divide the cells. The report is of all seeds that the workdir has; with --report
--only and --seeds say which it is of. A run that is damaged is left out of it and named: exit status 2.

Examples:
  emnat sweep --config=configs/tatoeba_grid.py --workdir=runs/grid --seeds=1,2,3
  emnat sweep --config=configs/tatoeba_grid.py --workdir=runs/grid --only='vanilla/*' --plan
  emnat sweep --config=configs/tatoeba_grid.py --workdir=runs/grid --report --over=distilled
"""

import argparse

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.cli.configuration import read_grid
from emnat_jax.cli.options import add_json, add_workdir
from emnat_jax.cli.streams import make_log
from emnat_jax.cli.workspace import set_up_jax
from emnat_jax.errors import UserError, require
from emnat_jax.runtime.processes import Processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `emnat sweep`."""
    add_workdir(parser, default="runs/sweep")
    parser.add_argument("--seeds", metavar="N[,N]", help="default: 1; with --report all that there are")
    parser.add_argument(
        "--only", metavar="GROUP/CELL[,...]", help="run, or report, these alone; * stands for anything"
    )
    parser.add_argument("--plan", action="store_true", help="print the cells and how far they are")
    parser.add_argument("--report", action="store_true", help="run nothing, report what is finished")
    parser.add_argument(
        "--over", metavar="CELL", help="what the others of its group are compared with; default: the first"
    )
    add_json(parser, "the report")


def run(args: argparse.Namespace, config_arguments: list[str], processes: Processes) -> None:
    of_report = [f"--{name}" for name in ("report", "over", "json") if getattr(args, name)]
    text = f"{', '.join(of_report)}: --plan makes no report; leave out the one or the other."
    require(not (args.plan and of_report), text)
    base, grid = read_grid(config_arguments)
    from emnat_jax.sweep.cells import begun_seeds, choose, describe, make_cells, run_cells

    begun = begun_seeds(args.workdir)
    seeds = (begun if args.report and begun else {1}) if args.seeds is None else _seeds(args.seeds)
    cells = make_cells(base, grid, sorted({*seeds, *begun}))
    chosen = choose([cell for cell in cells if cell.seed in seeds], args.only)
    if args.plan:
        print(describe(chosen, args.workdir))
        return
    if (epath.Path(args.workdir) / paths.CONFIG).exists():
        raise UserError(f"{args.workdir} is the workdir of one run; give a sweep a --workdir of its own.")
    set_up_jax()
    from emnat_jax.report.convert import dumps
    from emnat_jax.report.sweep_page import sweep_table
    from emnat_jax.report.sweep_record import SweepReport
    from emnat_jax.sweep.summary import write_sweep_report

    failed = {}
    if not args.report:
        failed = run_cells(cells, chosen, args.workdir, make_log(processes), processes)
    report = processes.broadcast_record(
        "report",
        SweepReport,
        lambda: write_sweep_report(cells, args.workdir, args.over, chosen if args.report else cells),
    )
    if args.json:
        print(dumps(report))
    else:
        print(f"{sweep_table(report)}\npage: {args.workdir}/{paths.REPORT_PAGE}")
    if failed := report.damaged | failed:
        raise UserError("; ".join(f"{folder}: {message}" for folder, message in failed.items()))


def _seeds(text: str) -> set[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(
            f"--seeds={text}: give whole numbers with commas between them, e.g. 1,2,3."
        ) from error
    if len({*seeds}) < len(seeds) or min(seeds) < 0:
        raise UserError(f"--seeds={text}: give different seeds of 0 or more.")
    return {*seeds}
