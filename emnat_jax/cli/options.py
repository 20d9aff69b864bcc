"""Options that most commands have: the workdir, the configuration, the processes of a run."""

import argparse

DEFAULT_WORKDIR = "runs/quickstart"


def add_workdir(parser: argparse.ArgumentParser, default: str = DEFAULT_WORKDIR) -> None:
    """`--workdir`, the help of `--config` (main.py takes it apart), and the options of several processes."""
    parser.add_argument("--workdir", default=default, help=f"default: {default}")
    group = parser.add_argument_group("configuration")
    text = "a file with get_config(); default: the workdir's config.json, or the bundled demo's"
    group.add_argument("--config", metavar="FILE.py", help=text)
    group.add_argument("--config.KEY", metavar="VALUE", help="set one key, e.g. --config.em.rounds=3")
    _add_processes(parser)


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    """`--json`."""
    parser.add_argument("--json", action="store_true", help=f"print {what} as JSON")


def _add_processes(parser: argparse.ArgumentParser) -> None:
    """How the processes of one run find each other; `workers` is for commands that have such an option."""
    parser.set_defaults(workers=None)
    group = parser.add_argument_group("many hosts: start the same command on each")
    group.add_argument(
        "--on-all-hosts", action="store_true", help="find the others through Cloud TPU, GKE or Slurm"
    )
    group.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 listens")
    group.add_argument("--processes", type=int, metavar="N", help="how many there are")
    group.add_argument("--process", type=int, metavar="I", help="which this is, from 0")
