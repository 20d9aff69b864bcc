"""Choose targets for every source of a candidates set: the E-step. Options under `select` hold the rule.

Example:
  emnat select --workdir=runs/demo --candidates=runs/demo/rounds/0/candidates --output=runs/demo/paper \\
    --config.select.rule=student_top1
"""

import argparse

from emnat_jax.artifacts import paths
from emnat_jax.cli.configuration import read_config
from emnat_jax.cli.options import add_json, add_workdir
from emnat_jax.cli.streams import make_log, show
from emnat_jax.runtime.processes import Processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `emnat select`."""
    add_workdir(parser)
    parser.add_argument("--candidates", required=True, help="a candidates set with the columns of the rule")
    parser.add_argument("--output", required=True, help="folder of the new set")
    add_json(parser, "the statistics")


def run(args: argparse.Namespace, config_arguments: list[str], processes: Processes) -> None:
    from etils import epath

    from emnat_jax.artifacts.journal import output_lock
    from emnat_jax.config import RULES
    from emnat_jax.data.shard_workers import ShardWorkers
    from emnat_jax.data.vocab import load_vocabulary
    from emnat_jax.em.stages.select import selection_scoring
    from emnat_jax.estep.selection import select
    from emnat_jax.evaluation.metrics import require_metrics
    from emnat_jax.runtime.mesh import DataPart

    config = read_config(config_arguments, args.workdir)
    scoring = selection_scoring(config)
    if config.select.needs_quality:
        require_metrics(scoring)
    vocabulary = load_vocabulary(epath.Path(args.workdir) / paths.VOCABULARY)
    part = DataPart(processes.index, processes.count, True)
    workers = ShardWorkers(processes, part, make_log(processes), starts_over=False)
    with processes.hold(args.output, output_lock(args.workdir)):
        manifest = select(
            args.candidates,
            args.output,
            config.select,
            vocabulary=vocabulary,
            seed=config.seed,
            scoring=scoring,
            workers=workers,
        )
    shown = ("weights", "constraint") if RULES[config.select.rule].is_distribution else ()
    used = {name: manifest.options[name] for name in shown if name in manifest.options}
    show({"set": args.output, "rows": manifest.rows_out, **used, **manifest.options["statistics"]}, args.json)
