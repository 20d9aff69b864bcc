"""Translate lines of text with any trained model of a workdir, each as soon as it is there.

--n-best and --scores write lines of four columns with a TAB between them: the number of the input line, from
1; the rank, from 1 for the best; log p in nats, as `emnat score` has it; the translation. With --rescore the
rank is the chooser's and log p the student's own. A line without words has one such line, with log p "nan".

A file that a killed run has not finished goes on with the same command.

Examples:
  echo "Wo ist der Bahnhof?" | emnat translate
  emnat translate --role=teacher --round=0 --decoder=greedy --input=test.de --output=test.en.gz
  emnat translate --role=student --length-candidates=9 --rescore=teacher --input=test.de
  emnat translate --role=teacher --n-best=5 --input=test.de --output=test.tsv
"""

from __future__ import annotations

import argparse
import functools
from typing import TYPE_CHECKING, Any

from emnat_jax.cli.configuration import read_config
from emnat_jax.cli.model import (
    add_backend,
    add_model,
    exported_folder,
    load_exported_model,
    load_model,
    refuse_model_options,
)
from emnat_jax.cli.options import add_workdir
from emnat_jax.cli.streams import note, open_lines, pauses
from emnat_jax.cli.workspace import open_workspace, require_whole_models
from emnat_jax.errors import UserError, require
from emnat_jax.runtime.processes import Processes

if TYPE_CHECKING:
    from emnat_jax.cli.filter import Counted
    from emnat_jax.inference.translator import Translation, Translator

_LONG_LINES = (
    "lines of more tokens than the model takes: translate them in parts, at ends of sentences where there "
    "are any (split, the default), leave out what is past the limit (cut), or stop (error)"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `emnat translate`."""
    add_workdir(parser)
    add_model(parser)
    text = "lines to translate, plain or .gz, .bz2, .xz; default: standard input"
    parser.add_argument("--input", metavar="FILE", help=text)
    text = "compressed where it ends in .gz, .bz2 or .xz; default: standard output"
    parser.add_argument("--output", metavar="FILE", help=text)
    add_backend(parser)
    parser.add_argument("--n-best", type=int, metavar="N", help="the N best of each line, with their scores")
    parser.add_argument("--scores", action="store_true", help="the best with its score: as --n-best=1")
    parser.add_argument("--long-lines", choices=("split", "cut", "error"), default="split", help=_LONG_LINES)


def run(args: argparse.Namespace, config_arguments: list[str], processes: Processes) -> None:
    """Translates, in all processes together; the first reads and writes."""
    count = args.n_best
    require(count is None or count >= 1, f"--n-best={count}: use 1 or more.")
    lines = open_lines(args.input) if processes.is_first else iter(())
    model = _open(args, config_arguments, processes)
    from emnat_jax.cli.filter import Filter, lend_devices, run_filter, window_lines

    shown = count if count is not None or not args.scores else 1
    if not processes.is_first:
        lend_devices(processes, lambda: model.n_best([], shown or 1))
        return
    translate = functools.partial(_translations, model, args.long_lines, shown)
    tell = functools.partial(_tell, args.long_lines, model.max_length)
    job = Filter(lines, pauses(args.input), translate, tell, _made_from(model, args.long_lines, shown))
    say = functools.partial(note, "translate")
    run_filter(job, args.output, size=window_lines(model.batch_rows), processes=processes, note=say)


def _open(args: argparse.Namespace, config_arguments: list[str], processes: Processes) -> Translator:
    """The trained model, or an exported one, which is there at once: it needs no JAX."""
    if folder := exported_folder(args):
        require(processes.count == 1, "an exported model is run by one process; start it without the others.")
        return load_exported_model(folder, args, config_arguments)
    refuse_model_options(config_arguments)
    work = open_workspace(read_config(config_arguments, args.workdir), args.workdir, processes)
    require_whole_models(work)
    return load_model(work, args)


def _made_from(model: Translator, long_lines: str, shown: int | None) -> dict[str, Any]:
    """What the translations depend on beside the lines."""
    return {
        **model.made_from(),
        "vocabulary": model.vocabulary.fingerprint,
        "--long-lines": [long_lines, model.max_length],
        "--n-best": shown,
    }


def _translations(
    model: Translator, how: str, shown: int | None, lines: list[str], done: int, counted: Counted
) -> list[str]:
    """The output for some lines, of which `done` lines went before."""
    from emnat_jax.inference.long_lines import LongLines, TooLong

    long = LongLines(how)
    try:
        if shown is None:
            output = model.translate(lines, long_lines=long)
        else:
            output = _with_scores(model.n_best(lines, shown, long_lines=long), done)
    except TooLong as error:
        raise UserError(
            f"line {done + error.place + 1}: {error.about}; shorten it, or use --long-lines=split or cut."
        ) from error
    for what, places in (("split", long.split), ("within words", long.within_words), ("cut", long.cut)):
        counted.add(what, [done + place + 1 for place in places])
    return output


def _with_scores(found: list[list[Translation]], done: int) -> list[str]:
    """The lines of --n-best, of which `done` input lines went before."""
    from emnat_jax.inference.translator import Translation

    nothing = Translation("", float("nan"))
    return [
        f"{number}\t{rank}\t{one.log_prob:.6f}\t{one.text}"
        for number, ranked in enumerate(found, done + 1)
        for rank, one in enumerate(ranked or [nothing], 1)
    ]


def _tell(how: str, max_length: int, counted: Counted) -> None:
    """Says which lines were too long, and what to do."""
    over = f"of the lines have more than {max_length} tokens and were"
    if count := counted.count("split"):
        within = counted.count("within words")
        words = f"; {within} of them also within a word ({counted.lines('within words')})" if within else ""
        note("translate", f"{count} {over} translated in parts ({counted.lines('split')}){words}")
    if count := counted.count("cut"):
        other = "--long-lines=split, or " if how == "cut" else ""
        note(
            "translate",
            f"{count} {over} cut; the rest of them is not translated ({counted.lines('cut')}); use {other}a "
            "model trained with wider data.buckets",
        )
