"""The `emnat` command: finds the subcommand, turns user mistakes into one line and exit status 2."""

from __future__ import annotations

import argparse
import atexit
import importlib
import os
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from emnat_jax import __version__
from emnat_jax.cli.parser import Parser
from emnat_jax.errors import RESTART_STATUS, Preempted, UserError, explain
from emnat_jax.runtime.allocator import computes_on_cpu, keep_freed_memory
from emnat_jax.runtime.cores import available_cores
from emnat_jax.runtime.messages import escape_unwritable, forget, say
from emnat_jax.runtime.signals import Ending, EndOnSignal, ignore

if TYPE_CHECKING:
    from emnat_jax.runtime.processes import Processes

COMMANDS = {  # name -> what it does; the module cli/NAME.py has its add_arguments and run
    "em": "run or resume all EM rounds in a workdir and write the report",
    "sweep": "a grid of configurations and seeds in one workdir, with mean and spread",
    "prepare": "corpus -> vocabulary, records, manifests; counts what is dropped",
    "train": "train one model on one data set",
    "distill": "translate a data set with a trained model: the N best of each source",
    "score": "log p(target | source) of a trained model for given pairs",
    "select": "candidates with scores -> chosen records (the E-step)",
    "translate": "stdin or a file -> stdout or a file, with any trained model",
    "evaluate": "sacreBLEU with signature, chrF++, repetition, length ratio; paired significance",
    "export": "a trained model for ONNX Runtime (student), CTranslate2 (teacher) or as StableHLO (any)",
    "report": "(re)build the workdir's HTML page and JSON",
    "doctor": "check the machine and a workdir in full; have what is damaged made again",
    "compile": "compile the programs of a round for a TPU slice that is not here: memory, bounds, hours",
    "benchmark": "timings side by side: latency, throughput, distillation, training steps; growth",
}
BROKEN_PIPE_STATUS = 128 + 13  # as a shell shows a filter that SIGPIPE has ended
# The first process does the whole of these; in the others every one has a share.
ALONE = ("compile", "doctor")


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns 0, or 2 for a mistake that the user can mend, or 141 if nobody reads on."""
    _open_what_is_closed()
    if argv is None:  # not of a program that calls this
        atexit.register(ignore)  # the first of all, which is called last
        escape_unwritable(sys.stdout)
        if available_cores() == 1 and computes_on_cpu():
            keep_freed_memory()  # before there is a thread
    words = sys.argv[1:] if argv is None else argv
    # Early: what a command needs takes a second to import.
    with EndOnSignal(f"emnat {words[0]}" if words and words[0] in COMMANDS else "emnat") as signals:
        status = _with_output(lambda: signals.run(lambda: _main(words, signals)))
        if argv is None:
            signals.end(status)
    return status


def _with_output(run: Callable[[], int]) -> int:
    """What `run` returns, or the status of a program whose output nobody takes."""
    status, ended = 0, None
    try:
        try:
            status = run()
        except SystemExit as end:  # argparse, after its help or a complaint
            ended = end
        sys.stdout.flush()
    except BrokenPipeError:
        forget(sys.stdout)
        return BROKEN_PIPE_STATUS
    except OSError as error:
        if error.errno is None:  # not of the system: a bug
            raise
        forget(sys.stdout)
        if not status:
            say(f"emnat: standard output: {error.strerror}.")
        return status or 2
    if ended is not None:
        raise ended
    return status


def _open_what_is_closed() -> None:
    """Output that whoever started this has closed goes nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, _nowhere())


def _nowhere() -> TextIO:
    """Takes what is written for the rest of the process."""
    return open(os.devnull, "w", encoding="utf-8", errors="replace")


def _main(argv: list[str], signals: EndOnSignal) -> Ending:
    if argv and argv[0] == "--version":
        print(f"emnat_jax {__version__}")
        return Ending()
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_overview())
        return Ending()
    if argv[0] not in COMMANDS:
        return Ending(2, f"unknown command {argv[0]!r}; choose one of {', '.join(COMMANDS)}.")
    return _run(argv[0], argv[1:], signals)


def _run(name: str, argv: list[str], signals: EndOnSignal) -> Ending:
    command = importlib.import_module(f"emnat_jax.cli.{name}")
    parser = Parser(
        f"emnat {name}",
        description=command.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    rest, config_arguments = _split(argv)
    args = parser.parse_args(rest)
    try:
        processes = _join(args, [name, *argv])
    except UserError as error:
        return Ending(2, str(error))
    signals.before_end(processes.leave)
    if not processes.is_first and name in ALONE:
        return Ending()
    return _ending(lambda: command.run(args, config_arguments, processes), alone=processes.count == 1)


def _join(args: argparse.Namespace, command: list[str]) -> Processes:
    """The processes of the run; only the first of them has an output."""
    from emnat_jax.runtime.local_processes import start_here
    from emnat_jax.runtime.processes import start

    if args.workers is None:
        processes = start(
            coordinator=args.coordinator,
            count=args.processes,
            index=args.process,
            on_platform=args.on_all_hosts,
        )
    else:
        processes = start_here(args.workers, command)
    if not processes.is_first:
        sys.stdout = _nowhere()
    return processes


def _ending(run: Callable[[], None], alone: bool) -> Ending:
    """How a command has ended. A bug is raised where no other process has to hear of it."""
    try:
        run()
        sys.stdout.flush()
    except UserError as error:
        return Ending(2, str(error))
    except Preempted as error:
        return Ending(RESTART_STATUS, f"{error}; run it again to go on.")
    except BrokenPipeError:  # the reader of our output has left, e.g. `emnat translate | head`
        forget(sys.stdout)
        return Ending(BROKEN_PIPE_STATUS)
    except Exception as error:
        if isinstance(error, OSError) and (error.filename is not None or error.errno is not None):
            return Ending(2, f"{explain(error)}; nothing that was finished is lost.")
        if alone:
            raise
        traceback.print_exc()
        return Ending(1, f"{type(error).__name__}: {error}")
    return Ending()


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    """Arguments without and with those of the configuration (`--config=...`, `--config.a.b=...`)."""
    rest, config = [], []
    arguments = iter(argv)
    for argument in arguments:
        if not argument.startswith("--config") or argument[8:9] not in ("", "=", "."):
            rest.append(argument)
        elif "=" in argument:
            config.append(argument)
        else:
            config.append(f"{argument}={next(arguments, '')}")
    return rest, config


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: emnat COMMAND [--config=FILE.py] [--config.KEY=VALUE ...] [--workdir=DIR] [...]",
            "",
            "EM training of autoregressive teachers and non-autoregressive students, in JAX.",
            "",
            *lines,
            "",
            "emnat COMMAND --help shows the options of a command and an example.",
            "Example: emnat em                     (the bundled German-English demo, minutes on two cores)",
        ]
    )
