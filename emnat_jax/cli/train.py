"""Train one model on one data set of a prepared workdir, or go on where a run stopped.

A folder that holds a model of other data or options, finished or half done, is refused: give each training an
--output of its own.

Examples:
  emnat train --role=teacher --workdir=runs/demo --output=runs/demo/models/teacher
  emnat train --role=student --workdir=runs/demo --data=runs/demo/rounds/0/n_best \\
    --output=runs/demo/models/kd
  emnat train --role=student --workdir=runs/demo --data=runs/demo/rounds/0/n_best --objective=ngram \\
    --start=runs/demo/rounds/0/student --output=runs/demo/models/ngram
  emnat train --role=teacher --workdir=runs/tuned --start=runs/demo/rounds/0/teacher
    (runs/tuned was prepared with --config.vocab.path=runs/demo)
"""

import argparse

from emnat_jax.artifacts import paths
from emnat_jax.cli.configuration import read_config
from emnat_jax.cli.options import add_json, add_workdir
from emnat_jax.cli.streams import show
from emnat_jax.cli.workspace import open_workspace
from emnat_jax.config import OBJECTIVES, ROLES
from emnat_jax.errors import require
from emnat_jax.runtime.processes import Processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `emnat train`."""
    add_workdir(parser)
    parser.add_argument("--role", choices=ROLES, required=True, help="whose configuration")
    parser.add_argument(
        "--data", help="a set of targets, or of lists (the first of each); default: WORKDIR/data/train"
    )
    parser.add_argument("--base", help="a set with the rows that --data does not have")
    parser.add_argument("--output", help="folder of the model; default: WORKDIR/models/ROLE")
    parser.add_argument("--start", help="a finished model whose weights a fresh run begins with")
    parser.add_argument(
        "--teacher", help="a finished model whose translations student_train.best_by=distilled_loss looks at"
    )
    parser.add_argument(
        "--targets",
        type=int,
        default=1,
        metavar="K",
        help="student: learn from K targets of each row, the E-step inside the loss; default: 1",
    )
    parser.add_argument(
        "--objective",
        choices=OBJECTIVES,
        help="what is trained for, in the place of ROLE_train.objective; ngram: ctc, dag, and glat on these",
    )
    add_json(parser, "the result")


def run(args: argparse.Namespace, config_arguments: list[str], processes: Processes) -> None:
    _check(args)
    if args.objective:
        config_arguments = [*config_arguments, f"--config.{args.role}_train.objective={args.objective}"]
    config = read_config(config_arguments, args.workdir)
    work = open_workspace(config, args.workdir, processes)
    from emnat_jax.artifacts.atomic import absolute
    from emnat_jax.artifacts.folders import require_plain_name
    from emnat_jax.artifacts.journal import output_lock
    from emnat_jax.artifacts.manifest import is_finished
    from emnat_jax.em.train_model import Sources, train_model
    from emnat_jax.em.train_options import training_options

    output = args.output or work.directory / paths.MODELS / args.role
    options = training_options(config, args.role, targets=args.targets)
    data = args.data or work.directory / paths.TRAIN
    sources = Sources(data, args.base, args.start, args.teacher)
    remedy = f"lower {args.role}_train.optim.peak_lr and train again, in another --output"
    if not is_finished(output):
        require_plain_name(absolute(output))
    with processes.hold(output, output_lock(args.workdir)):
        manifest = train_model(work, options, sources, output, label=args.role, remedy=remedy)
    names = ("step", "valid_loss")
    show(
        {"model": str(output), "rows": manifest.rows_in, **{n: manifest.options[n] for n in names}}, args.json
    )


def _check(args: argparse.Namespace) -> None:
    """UserError for options that a training does not have."""
    require(args.targets >= 1, f"--targets={args.targets}: use 1 or more.")
    for_student = ("--targets", args.targets == 1), ("--teacher", args.teacher is None)
    for name, is_default in for_student:
        require(is_default or args.role == "student", f"{name} is of students; use --role=student.")
