"""log p(target | source) in nats of a trained model: of text pairs, or as a new column of a data set.

Examples:
  emnat score --workdir=runs/demo --model=runs/demo/rounds/0/student --source=a.de --target=a.en
  emnat score --workdir=runs/demo --model=runs/demo/models/student --data=runs/demo/candidates \\
    --column=student_log_prob --output=runs/demo/scored
"""

from __future__ import annotations

import argparse
import functools
import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from emnat_jax.cli.configuration import read_config
from emnat_jax.cli.model import refuse_model_options
from emnat_jax.cli.options import add_workdir
from emnat_jax.cli.streams import note, open_lines, pauses, show
from emnat_jax.cli.workspace import open_workspace, require_whole_models
from emnat_jax.errors import UserError, require
from emnat_jax.runtime.processes import Processes

if TYPE_CHECKING:
    from emnat_jax.cli.filter import Counted
    from emnat_jax.em.workdir import Workspace
    from emnat_jax.inference.model import TrainedModel


COLUMN = "student_log_prob"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `emnat score`."""
    add_workdir(parser)
    parser.add_argument("--model", required=True, help="folder of a finished model")
    parser.add_argument("--source", help="file of source lines; - is standard input")
    parser.add_argument(
        "--target",
        help="file of target lines; a score a line is written, -inf for a pair that the model cannot "
        "produce or that is too long for it",
    )
    parser.add_argument("--data", help="a distilled, candidates or selected set instead of files")
    parser.add_argument("--column", help=f"--data: name of the new column; default: {COLUMN}")
    parser.add_argument(
        "--output", help="file of scores (default: standard output), or folder of the new set"
    )


def run(args: argparse.Namespace, config_arguments: list[str], processes: Processes) -> None:
    of_texts = [side is not None for side in (args.source, args.target)]
    of_set = args.data is not None
    fits = not any(of_texts) if of_set else all(of_texts)
    require(fits, "give --source and --target, or --data and --output.")
    has_output = not of_set or bool(args.output)
    require(has_output, "--data needs --output, the folder of the set with the new column.")
    require(of_set or args.column is None, "--column is of the set that --data names; leave it out.")
    refuse_model_options(config_arguments)
    work = open_workspace(read_config(config_arguments, args.workdir), args.workdir, processes)
    if args.data:
        _score_set(work, args)
    else:
        _score_texts(work, args)


def _score_set(work: Workspace, args: argparse.Namespace) -> None:
    from emnat_jax.artifacts.journal import output_lock
    from emnat_jax.inference.distill import add_score_columns

    column = args.column or COLUMN
    scorers = {column: work.load(args.model)}
    with work.processes.hold(args.output, output_lock(args.workdir)):
        manifest = add_score_columns(
            args.data, args.output, scorers, vocabulary=work.vocabulary, workers=work.workers
        )
    show({"set": args.output, "column": column, "rows": manifest.rows_out}, False)


def _score_texts(work: Workspace, args: argparse.Namespace) -> None:
    from emnat_jax.cli.filter import Filter, lend_devices, run_filter, window_lines

    require_whole_models(work)
    paths = (args.source, args.target)
    pairs = _open_pairs(*paths) if work.processes.is_first else iter(())
    model = work.load(args.model)
    if not work.processes.is_first:
        lend_devices(work.processes, lambda: model.score([], []))
        return
    made_from = {
        "model": model.fingerprint,
        "vocabulary": model.vocabulary.fingerprint,
        "data.buckets": model.max_length,
    }
    job = Filter(
        pairs,
        any(map(pauses, paths)),
        functools.partial(_scores, model),
        functools.partial(_tell, model),
        made_from,
    )
    say = functools.partial(note, "score")
    size = window_lines(model.functions.batch_rows)
    run_filter(job, args.output, size=size, processes=work.processes, note=say)


def _open_pairs(source: str, target: str) -> Iterator[tuple[str, str]]:
    """The lines of two inputs side by side; UserError for unequal numbers, of two files before any work."""
    if source == target == "-":
        raise UserError("--source=- and --target=- are both standard input; name a file for one of them.")
    sides = (open_lines(source), open_lines(target))
    if not pauses(source) and not pauses(target) and "-" not in (source, target):
        of_source, of_target = (sum(1 for _ in open_lines(path)) for path in (source, target))
        _require_equal(source, target, of_source, of_target)
    return _side_by_side(source, target, sides)


def _side_by_side(
    source: str, target: str, sides: tuple[Iterator[str], Iterator[str]]
) -> Iterator[tuple[str, str]]:
    for number, (a, b) in enumerate(itertools.zip_longest(*sides)):
        if a is None or b is None:
            longer = number + 1 + sum(1 for side in sides for _ in side)
            _require_equal(source, target, *((number, longer) if a is None else (longer, number)))
        else:
            yield a, b


def _require_equal(source: str, target: str, of_source: int, of_target: int) -> None:
    if of_source != of_target:
        raise UserError(
            f"{source} has {of_source} lines, {target} has {of_target}; give files of the same lines."
        )


def _scores(model: TrainedModel, pairs: list[tuple[str, str]], done: int, counted: Counted) -> list[str]:
    """The scores of some pairs, of which `done` went before."""
    too_long: list[int] = []
    sources, targets = zip(*pairs, strict=True)
    scores = model.score(sources, targets, too_long=too_long)
    long = set(too_long)
    counted.add("too long", [done + place + 1 for place in too_long])
    impossible = [place for place, score in enumerate(scores) if score == -math.inf and place not in long]
    counted.add("impossible", [done + place + 1 for place in impossible])
    return [f"{score:.6f}" for score in scores]


def _tell(model: TrainedModel, counted: Counted) -> None:
    """Says which pairs have no score."""
    if count := counted.count("too long"):
        note(
            "score",
            f"{count} of the pairs have a side of more than {model.max_length} tokens and the score -inf "
            f"({counted.lines('too long')}); split them, or use a model trained with wider data.buckets",
        )
    if count := counted.count("impossible"):
        note(
            "score",
            f"{count} of the pairs have probability 0 and the score -inf ({counted.lines('impossible')}): "
            "the model cannot produce these targets",
        )
