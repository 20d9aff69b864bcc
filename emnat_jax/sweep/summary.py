"""What a sweep found: each cell's measurements over its seeds, and its gain over another of its group."""

import contextlib
import dataclasses
import hashlib
import json
import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.atomic import read_file, write_text
from emnat_jax.artifacts.journal import exclusive
from emnat_jax.artifacts.manifest import is_finished, load_manifest
from emnat_jax.artifacts.sealed import seal, unseal
from emnat_jax.config import Config
from emnat_jax.em.chain import require_whole
from emnat_jax.em.results import (
    MULTI,
    finished_rounds,
    outputs_of,
    read_evaluation,
    read_finetuned,
    references_of,
)
from emnat_jax.em.resume import is_of
from emnat_jax.em.workdir import Workspace
from emnat_jax.errors import UserError, explain, require
from emnat_jax.evaluation.bleu import References, paired_significance
from emnat_jax.report.convert import from_values, to_values
from emnat_jax.report.record import Evaluation, FinetuneEvaluation
from emnat_jax.report.summary import corpus_name
from emnat_jax.report.sweep_page import sweep_page, sweep_table
from emnat_jax.report.sweep_record import (
    CellSummary,
    Gain,
    GainOverSeeds,
    OverSeeds,
    Run,
    Steps,
    Subject,
    SweepReport,
)
from emnat_jax.sweep.cells import Cell

MEASURED = {"test": "student", "valid": "student", MULTI: "student_multi"}  # what a gain is of, by split
MEASUREMENTS = {  # name -> place in the evaluation of the last round
    "teacher": "teacher.reported.bleu",
    "student": "student.reported.bleu",
    "control": "control.reported.bleu",
    "rescored": "student_rescored.reported.bleu",
    "teacher_multi": "teacher.test_multi.bleu",
    "student_multi": "student.test_multi.bleu",
    "rescored_multi": "student_rescored.test_multi.bleu",
    "student_valid": "student.valid.bleu",
    "chrf": "student.reported.chrf",
    "share_valid": "student.reported.share_valid",
    "length_ratio": "student.reported.length_ratio",
    "repeat_rate": "student.reported.repeat_rate",
    "type_token_ratio": "student.reported.type_token_ratio",
    "ncm": "ncm.train.ncm",
    "total_correlation": "ncm.train.total_correlation",
}
FINETUNED = {  # name -> place in the evaluation of the training after the last round
    "finetuned": "finetuned.reported.bleu",
    "finetuned_control": "control.reported.bleu",
    "finetuned_valid": "finetuned.valid.bleu",
    "finetuned_control_valid": "control.valid.bleu",
}
PValues = dict[tuple[str, ...], float]  # by what was compared


def write_sweep_report(
    cells: Sequence[Cell],
    directory: epath.PathLike,
    over: str | None = None,
    shown: Collection[Cell] | None = None,
) -> SweepReport:
    """Writes report/sweep.json, report/table.txt and report/index.html from whatever is finished.

    Gains are over the cell `over`, in groups without it (None: in all) over the first of `cells`. The report
    is of those of them that are `shown` (None: of all). A run that is damaged is left out, and named.
    UserError for a folder that holds no sweep, and where no group has such a cell.
    """
    directory = epath.Path(directory)
    if not (directory / paths.CELLS).exists():
        raise UserError(f"{directory} holds no sweep; run one there, or give its --workdir.")
    baselines = _baselines(cells, over)
    with exclusive(directory / paths.REPORT, waits=True):  # of another sweep, which lacks our last cell
        known = _known(directory / paths.SWEEP_JSON)
        report = _report(cells, directory, baselines, known, cells if shown is None else shown)
        texts = {
            paths.SWEEP_JSON: json.dumps(seal(to_values(report)), indent=2, ensure_ascii=False),
            paths.TABLE: sweep_table(report),
            paths.REPORT_PAGE: sweep_page(report),
        }
        for name, text in texts.items():
            write_text(directory / name, f"{text}\n")
    return report


def _baselines(cells: Sequence[Cell], over: str | None) -> dict[str, str]:
    """The cell of each group that its others are compared with."""
    names = dict.fromkeys(cell.name for cell in cells)
    require(over is None or over in names, f"--over={over} names no cell; there are {', '.join(names)}.")
    named = {cell.group: cell.name for cell in cells if cell.name == over}
    return {cell.group: cell.name for cell in reversed(cells)} | named


def _report(
    cells: Sequence[Cell],
    directory: epath.Path,
    baselines: dict[str, str],
    known: PValues,
    shown: Collection[Cell],
) -> SweepReport:
    over = {cell: paths.cell(cell.group, baselines[cell.group], cell.seed) for cell in shown}
    found, damaged = _found([x for x in cells if x in over or x.folder in over.values()], directory)
    cells, runs = [cell for cell in cells if cell in over], []
    for cell in cells:
        run, other = found.get(cell.folder), found.get(over[cell])
        if run is not None:
            gains = {} if other in (None, run) else _gains(run, other, directory, cell, known)
            runs.append(dataclasses.replace(run, gains=gains))
    return SweepReport(
        about=_about(cells, runs, directory),
        runs=tuple(runs),
        baselines=baselines,
        cells=_summary(cells, runs),
        missing=tuple(cell.folder for cell in cells if cell.folder not in found | damaged),
        signatures=_signatures(runs),
        damaged=damaged,
    )


def _found(cells: Sequence[Cell], directory: epath.Path) -> tuple[dict[str, Run], dict[str, str]]:
    """The finished runs, and what is wrong with those that are damaged, by folder."""
    found, damaged = {}, {}
    for cell in cells:
        try:
            if (run := _run(cell, directory)) is not None:
                found[cell.folder] = run
        except (UserError, OSError) as error:
            damaged[cell.folder] = explain(error) if isinstance(error, OSError) else str(error)
    return found, damaged


def _signatures(runs: Sequence[Run]) -> dict[str, str]:
    """Of BLEU, by split; all of them where cells are scored in different ways."""
    found: dict[str, list[str]] = {}
    for run in runs:
        for split, signature in run.signatures.items():
            found.setdefault(split, []).append(signature)
    return {split: " and ".join(dict.fromkeys(signatures)) for split, signatures in found.items()}


def _about(cells: Sequence[Cell], runs: Sequence[Run], directory: epath.Path) -> Subject:
    """What the runs have in common, as the first of them has it."""
    data, pairs = cells[0].config.data, 0
    if runs:
        train = directory / runs[0].folder / paths.TRAIN
        pairs = load_manifest(train, verify_shards=False).rows_out
    seeds = tuple(dict.fromkeys(run.seed for run in runs))
    return Subject(data.source_language, data.target_language, corpus_name(data), pairs, seeds)


def _run(cell: Cell, directory: epath.Path) -> Run | None:
    """The measurements of a finished run; None before, and of one begun with another configuration.

    UserError where what it has made does not belong together.
    """
    here = directory / cell.folder
    if not cell.is_finished(directory) or not is_of(here, cell.config):
        return None
    require_whole(Workspace(cell.config, here, lambda text: None))
    last = max(finished_rounds(here, cell.config.em.rounds))
    result = read_evaluation(here, last)
    tests = {result.split: result.student.reported, MULTI: result.student.test_multi}
    lines = {split: outputs_of(here, last, split).get("student") for split in tests}
    return Run(
        group=cell.group,
        cell=cell.name,
        seed=cell.seed,
        folder=cell.folder,
        round=last,
        steps=Steps(teacher=_steps(here, "teacher", last), student=_steps(here, "student", last)),
        measurements=_at_all(result, MEASUREMENTS) | _finetuned(here, cell.config),
        outputs={split: _hash(text) for split, text in lines.items() if text},
        references={split: _hash(sets) for split, sets in references_of(cell.config.data, here).items()},
        signatures={split: scores.bleu_signature for split, scores in tests.items() if scores is not None},
        gains={},
    )


def _steps(directory: epath.Path, role: str, last: int) -> int:
    """Of all trainings up to the round `last`; a frozen teacher has one."""
    folders = [directory / paths.model(index, role) for index in range(last + 1)]
    return sum(load_manifest(folder).options["step"] for folder in folders if is_finished(folder))


def _finetuned(directory: epath.Path, config: Config) -> dict[str, float]:
    """What the training after the last round has reached, and what it gains over its control."""
    if config.em.finetune.steps is None:
        return {}
    found = _at_all(read_finetuned(directory), FINETUNED)
    if "finetuned_control" in found:
        found["finetuned_gain"] = found["finetuned"] - found["finetuned_control"]
    return found


def _at_all(result: Evaluation | FinetuneEvaluation, places: Mapping[str, str]) -> dict[str, float]:
    """The fields at these places by name; without those that there are not."""
    return {name: value for name, place in places.items() if (value := _at(result, place)) is not None}


def _at(result: Evaluation | FinetuneEvaluation, place: str) -> float | None:
    """The field at a dotted place; None where a part of the place is None."""
    found: Any = result
    for name in place.split("."):
        found = None if found is None else getattr(found, name)
    return found


def _hash(lines: References | list[str]) -> str:
    return hashlib.sha256(json.dumps(lines, ensure_ascii=False).encode()).hexdigest()


def _gains(run: Run, other: Run, directory: epath.Path, cell: Cell, known: PValues) -> dict[str, Gain]:
    """BLEU of the student over that of the baseline, same seed, by split: difference and paired bootstrap.

    Without the splits that were tested on different references or scored in different ways.
    """
    gains = {}
    for split, references in run.references.items():
        if references != other.references.get(split) or split not in run.outputs:
            continue
        if run.signatures[split] != other.signatures[split]:
            continue
        key = (run.outputs[split], other.outputs[split], references, run.signatures[split])
        if key not in known:
            known[key] = _p_value(run, other, directory, cell, split)
        name = MEASURED[split]
        difference = run.measurements[name] - other.measurements[name]
        gains[split] = Gain(other.cell, difference, known[key], key)
    return gains


def _p_value(run: Run, other: Run, directory: epath.Path, cell: Cell, split: str) -> float:
    ours, theirs = (outputs_of(directory / x.folder, x.round, split)["student"] for x in (run, other))
    references = references_of(cell.config.data, directory / run.folder)[split]
    found = paired_significance(ours, theirs, references, cell.config.scoring, names=("BLEU",))
    return found["BLEU"].p_value


def _known(path: epath.Path) -> PValues:
    """The p values of the report before, by what was compared: a bootstrap takes seconds."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        values = unseal(json.loads(read_file(path)))
        report = from_values(SweepReport, values, str(path), "it is made anew.")
        return {gain.of: gain.p_value for run in report.runs for gain in run.gains.values()}
    return {}


def _summary(cells: Sequence[Cell], runs: Sequence[Run]) -> tuple[CellSummary, ...]:
    """A line a cell, in the order of the grid: every measurement over its finished seeds."""
    names = dict.fromkeys((cell.group, cell.name) for cell in cells)
    found = ([run for run in runs if (run.group, run.cell) == name] for name in names)
    return tuple(_cell(ours) for ours in found if ours)


def _cell(runs: Sequence[Run]) -> CellSummary:
    first = runs[0]
    return CellSummary(
        group=first.group,
        cell=first.cell,
        seeds=tuple(run.seed for run in runs),
        steps=first.steps,
        measurements={
            name: over_seeds([run.measurements[name] for run in runs])
            for name in first.measurements
            if all(name in run.measurements for run in runs)  # rounds that ended early have no control
        },
        gains={split: gain for split in MEASURED if (gain := _gain_over_seeds(runs, split)) is not None},
    )


def _gain_over_seeds(runs: Sequence[Run], split: str) -> GainOverSeeds | None:
    found = [run.gains[split] for run in runs if split in run.gains]
    if not found:
        return None
    gain = over_seeds([gain.bleu for gain in found])
    return GainOverSeeds(**vars(gain), p_values=tuple(gain.p_value for gain in found))


def over_seeds(values: Sequence[float]) -> OverSeeds:
    """Mean and sample standard deviation (None of one value)."""
    spread = statistics.stdev(values) if len(values) > 1 else None
    return OverSeeds(statistics.fmean(values), spread, tuple(values))
