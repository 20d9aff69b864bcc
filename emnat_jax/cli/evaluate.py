"""sacreBLEU with its signature, chrF++, repetition and length ratio; paired significance of two systems.

The BLEU tokenizer is the one for the target language: of the workdir's configuration, or --language; for
files alone by the script of the references. All that is counted in tokens counts those of BLEU.

Examples:
  emnat evaluate --workdir=runs/demo --role=student --round=1 --split=test
  emnat evaluate --hypotheses=out.en --references=test.en --baseline=other.en
  emnat evaluate --hypotheses=out.zh --references=ref1.zh,ref2.zh --language=zh --json
  emnat evaluate --workdir=runs/tatoeba --multi-references=test_multiref.tsv.gz
"""

import argparse
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from emnat_jax.artifacts import paths
from emnat_jax.cli.configuration import read_config
from emnat_jax.cli.filter import Counted
from emnat_jax.cli.model import add_model, load_model, refuse_model_options
from emnat_jax.cli.options import DEFAULT_WORKDIR, add_json, add_workdir
from emnat_jax.cli.streams import note, read_lines, show, standard_input
from emnat_jax.cli.workspace import open_workspace, require_whole_models
from emnat_jax.config import TOKENIZERS, Scoring, tokenizer_for
from emnat_jax.config.verified import DRAFTING
from emnat_jax.errors import require
from emnat_jax.evaluation.bleu import References, paired_significance, quality
from emnat_jax.evaluation.metrics import require_metrics
from emnat_jax.evaluation.scripts import better_tokenizer
from emnat_jax.runtime.processes import Processes

if TYPE_CHECKING:
    from emnat_jax.artifacts.records import Row
    from emnat_jax.em.workdir import Workspace
    from emnat_jax.inference.long_lines import LongLines


class Evaluated(NamedTuple):
    """Translations, what they are compared with, and the scores."""

    scores: Any  # a record
    outputs: list[str]
    references: References
    scoring: Scoring


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `emnat evaluate`."""
    add_workdir(parser)
    add_model(parser)
    parser.add_argument(
        "--split", choices=("valid", "test"), help="of the workdir; default: test, where there is one"
    )
    parser.add_argument("--hypotheses", metavar="FILE", help="score this file instead of a model's output")
    parser.add_argument("--references", metavar="FILE[,FILE]", help="raw reference lines, one file a set")
    parser.add_argument(
        "--multi-references",
        metavar="FILE",
        help="lines of source, TAB, its references, TAB between them; a model translates the sources, or "
        "--hypotheses has done so",
    )
    parser.add_argument(
        "--baseline", metavar="FILE", help="output of another system, for the paired bootstrap"
    )
    group = parser.add_argument_group(
        "how outputs are compared; default: as the workdir's configuration says"
    )
    group.add_argument("--language", metavar="CODE", help="the target language, e.g. zh or pt-BR")
    group.add_argument("--tokenizer", choices=TOKENIZERS, help="of BLEU; default: the language's")
    group.add_argument("--lowercase", action="store_true", help="case makes no difference")
    group.add_argument("--ter", action="store_true", help="also the translation edit rate; slow")
    add_json(parser, "the scores")


def run(args: argparse.Namespace, config_arguments: list[str], processes: Processes) -> None:
    """The first process reads, scores and prints; a model translates in all of them together."""
    _check(args)
    found = None
    if not args.hypotheses:
        refuse_model_options(config_arguments)
        work = open_workspace(read_config(config_arguments, args.workdir), args.workdir, processes)
        require_whole_models(work)
        found = _model_outputs(work, args)
    elif processes.is_first:
        found = _files(args, config_arguments)
    if found is None:
        return
    shown = dict(vars(found.scores))
    if args.baseline:
        baseline = read_lines(args.baseline)
        _require_as_many(args.baseline, baseline, "the output", found.outputs)
        shown["significance"] = paired_significance(found.outputs, baseline, found.references, found.scoring)
    show(shown, args.json)


def _check(args: argparse.Namespace) -> None:
    """UserError for options that do not go together."""
    multi, references, hypotheses = args.multi_references, args.references, args.hypotheses
    require(references is None or multi is None, "--references and --multi-references: give one of them.")
    require(hypotheses is not None or references is None, "--hypotheses and --references go together.")
    require(
        hypotheses is None or references is not None or multi is not None,
        "--hypotheses and --references (or --multi-references) go together.",
    )
    for name in ("role", "model", "round", "decoder", "length_candidates", "rescore", *DRAFTING, "split"):
        option, taken = f"--{name.replace('_', '-')}", getattr(args, name) is not None
        require(
            not (taken and hypotheses),
            f"{option} is for outputs of a model, not for --hypotheses: leave it out.",
        )
    require(multi is None or args.split is None, "--split and --multi-references: give one of them.")
    files = [hypotheses, *(references or "").split(","), multi, args.baseline]
    require(files.count("-") <= 1, "- is standard input, and can be given once; name files for the others.")


def _files(args: argparse.Namespace, config_arguments: list[str]) -> Evaluated:
    """The scores of a file."""
    outputs, references = read_lines(args.hypotheses), _references(args)
    for path, lines in zip((args.references or "").split(","), references, strict=False):
        _require_as_many(path or args.multi_references, lines, args.hypotheses, outputs)
    is_configured = bool(config_arguments) or args.workdir != DEFAULT_WORKDIR
    configured = read_config(config_arguments, args.workdir).scoring if is_configured else None
    scoring = _scoring(args, configured, references)
    return Evaluated(quality(outputs, references, scoring), outputs, references, scoring)


def _require_as_many(path: str, lines: Sequence[str | None], other: str, of_other: Sequence[str]) -> None:
    require(
        len(lines) == len(of_other),
        f"{path} has {len(lines)} lines, {other} has {len(of_other)}; give files of the same lines.",
    )


def _references(args: argparse.Namespace) -> References:
    if args.multi_references:
        return _read_multi_references(args.multi_references)[1]
    return [read_lines(path) for path in args.references.split(",")]


def _scoring(args: argparse.Namespace, configured: Scoring | None, references: References) -> Scoring:
    """What the options say, else the configuration; without a language by the script of the references.

    UserError where a package is missing.
    """
    default = configured or Scoring()
    of_language = tokenizer_for(args.language) if args.language else default.tokenizer
    scoring = Scoring(
        args.tokenizer or of_language, args.lowercase or default.lowercase, args.ter or default.ter
    )
    better = None if args.tokenizer else better_tokenizer(references[0], scoring)
    if better is not None and configured is None and args.language is None:
        note(
            "evaluate", f"BLEU counts {better} tokens, for want of --language: the references have no spaces."
        )
        scoring = dataclasses.replace(scoring, tokenizer=better)
    elif better is not None:
        note(
            "evaluate",
            f"the references have no spaces, so that BLEU counts whole lines as words ({scoring.tokenizer}); "
            f"give --tokenizer={better}.",
        )
    require_metrics(scoring)
    return scoring


def _model_outputs(work: "Workspace", args: argparse.Namespace) -> Evaluated | None:
    """The scores of a model's translations; None in other processes than the first, which lend devices."""
    from emnat_jax.artifacts.dataset import read_dataset
    from emnat_jax.em.evaluate import EvaluationOptions, score_lines
    from emnat_jax.inference.long_lines import LongLines

    rows: list[Row] | None = None
    sources: list[str] = []
    references: References = []
    if work.processes.is_first and args.multi_references:
        sources, references = _read_multi_references(args.multi_references)
    elif work.processes.is_first:
        splits = work.config.data.splits
        split = args.split or splits[-1]
        require(split in splits, f"--split={split}: this workdir has no test split; use --split=valid.")
        rows = list(read_dataset(work.directory / paths.split(split)))
        sources, references = [row.source_text for row in rows], [[row.target_text for row in rows]]
    scoring = _scoring(args, work.config.scoring, references) if references else work.config.scoring
    model = load_model(work, args)
    long = LongLines("cut")  # as the rows of a prepared split, so that the figures are those of the report
    outputs = model.translate(sources, long_lines=long)
    if not work.processes.is_first:
        return None
    _tell(long, model.max_length)
    options = dataclasses.replace(EvaluationOptions.of(work.config), scoring=scoring)
    return Evaluated(score_lines(outputs, references, rows, options), outputs, references, scoring)


def _tell(long: "LongLines", max_length: int) -> None:
    """Says which sources were cut."""
    if long.cut:
        counted = Counted()
        counted.add("cut", [place + 1 for place in long.cut])
        note(
            "evaluate",
            f"{len(long.cut)} of the sources have more than {max_length} tokens and were cut "
            f"({counted.lines('cut')}); use a model trained with wider data.buckets",
        )


def _read_multi_references(path: str) -> tuple[list[str], list[list[str | None]]]:
    """(sources, sets of references) of a file, or of standard input for "-"."""
    from emnat_jax.data.text import read_multi_references

    return read_multi_references(standard_input() if path == "-" else path)
