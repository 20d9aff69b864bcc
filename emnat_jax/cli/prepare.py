"""Make the vocabulary and the records of the train, valid and test splits in a workdir.

Without files for it the valid split is cut off the training text, and there is no test split.
The workdir keeps the configuration: commands that follow need not be given it again.

Examples:
  emnat prepare --workdir=runs/demo
  emnat prepare --workdir=runs/mine --config.data.kind=text \\
    --config.data.train_source=train.de.gz --config.data.train_target=train.en.gz \\
    --config.data.valid_source=valid.de --config.data.valid_target=valid.en \\
    --config.data.test_source=test.de --config.data.test_target=test.en
  emnat prepare --workdir=runs/more --config.data.kind=text --config.data.train_tsv=a.tsv,b.tsv.gz \\
    --config.data.mono_source=more.de --config.vocab.path=runs/mine
  emnat prepare --workdir=runs/large --workers=8 --config=my_corpus.py
"""

import argparse

from emnat_jax.cli.configuration import read_config
from emnat_jax.cli.options import add_json, add_workdir
from emnat_jax.cli.streams import make_log, show
from emnat_jax.runtime.processes import Processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `emnat prepare`."""
    add_workdir(parser)
    text = "processes on this machine that share the work; the result is the same for any number"
    parser.add_argument("--workers", type=int, metavar="N", help=text)
    add_json(parser, "the summary")


def run(args: argparse.Namespace, config_arguments: list[str], processes: Processes) -> None:
    from etils.epath import Path

    from emnat_jax.artifacts import paths
    from emnat_jax.artifacts.journal import exclusive
    from emnat_jax.artifacts.saved_config import note_config, write_config
    from emnat_jax.data.prepare import prepare

    config, log = read_config(config_arguments, args.workdir), make_log(processes)

    def keep_config() -> None:
        if not (Path(args.workdir) / paths.ROUNDS).exists():  # else it is that of the rounds
            # The journal first: it then knows whatever lies there as config.json, also after a kill.
            note_config(args.workdir, config, [])
            write_config(args.workdir, config)

    with processes.hold(args.workdir, exclusive):
        summary = prepare(config, args.workdir, log, processes, begun=keep_config)
        processes.broadcast("configuration", keep_config)
    show(summary, args.json)
