"""The `emnat` command: finds the subcommand, turns user mistakes into one line and exit status 2."""

import argparse
import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Callable

from emnat_jax import __version__
from emnat_jax.cli.parser import Parser
from emnat_jax.errors import RESTART_STATUS, Preempted, UserError, explain
from emnat_jax.runtime.allocator import computes_on_cpu, keep_freed_memory
from emnat_jax.runtime.cores import available_cores
from emnat_jax.runtime.local_processes import start_here
from emnat_jax.runtime.processes import Processes, start
from emnat_jax.runtime.signals import EndOnSignal

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
    if argv is None and available_cores() == 1 and computes_on_cpu():  # not of a program that calls this
        keep_freed_memory()
    status, ended = 0, None
    try:
        try:
            status = _main(sys.argv[1:] if argv is None else argv)
        except SystemExit as end:  # argparse, after its help or a complaint
            ended = end
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
        return BROKEN_PIPE_STATUS
    except OSError as error:
        if error.errno is None:  # not of the system: a bug
            raise
        _forget_output()
        if not status:
            print(f"emnat: standard output: {error.strerror}.", file=sys.stderr)
        return status or 2
    if ended is not None:
        raise ended
    return status


def _open_what_is_closed() -> None:
    """Output that whoever started this has closed goes nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - for the rest of the process


def _forget_output() -> None:
    """What is left to be written, at the end of the interpreter too, goes nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _main(argv: list[str]) -> int:
    if argv and argv[0] == "--version":
        print(f"emnat_jax {__version__}")
        return 0
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if argv[0] not in COMMANDS:
        print(f"emnat: unknown command {argv[0]!r}; choose one of {', '.join(COMMANDS)}.", file=sys.stderr)
        return 2
    return _run(argv[0], argv[1:])


def _run(name: str, argv: list[str]) -> int:
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
        print(f"emnat {name}: {error}", file=sys.stderr)
        return 2
    status, message = 0, ""
    if processes.is_first or name not in ALONE:
        with EndOnSignal(processes, name) as signals:
            try:
                status, message = _status(
                    lambda: command.run(args, config_arguments, processes), alone=processes.count == 1
                )
            except KeyboardInterrupt as error:
                status, message = signals.outcome(error)
    if message:
        print(f"emnat {name}: {message}", file=sys.stderr)
    processes.leave(status, message)
    return status


def _join(args: argparse.Namespace, command: list[str]) -> Processes:
    """The processes of the run; only the first of them has an output."""
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
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the rest of the process
    return processes


def _status(run: Callable[[], None], alone: bool) -> tuple[int, str]:
    """Exit status and message of a command. A bug is raised where no other process has to hear of it."""
    try:
        run()
        sys.stdout.flush()
    except UserError as error:
        return 2, str(error)
    except Preempted as error:
        return RESTART_STATUS, f"{error}; run it again to go on."
    except BrokenPipeError:  # the reader of our output has left, e.g. `emnat translate | head`
        _forget_output()
        return BROKEN_PIPE_STATUS, ""
    except Exception as error:
        if isinstance(error, OSError) and (error.filename is not None or error.errno is not None):
            return 2, f"{explain(error)}; nothing that was finished is lost."
        if alone:
            raise
        traceback.print_exc()
        return 1, f"{type(error).__name__}: {error}"
    return 0, ""


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
