"""What a sweep found: each cell's figures with mean and spread over its seeds, and what it gains over another of its group."""

import contextlib
import hashlib
import json
import statistics
from collections.abc import Sequence
from typing import Any

from etils import epath

from emnat_jax.artifacts.journal import exclusive
from emnat_jax.artifacts.manifest import is_finished, load_manifest
from emnat_jax.em.details import finished_rounds, outputs_of, references_of
from emnat_jax.em.evaluate import MULTI
from emnat_jax.em.plan import EVAL_NAME
from emnat_jax.em.report import write_texts
from emnat_jax.em.workdir import begun_with_other
from emnat_jax.errors import UserError, require
from emnat_jax.evaluation.bleu import References, paired_significance
from emnat_jax.report.summary import corpus_name
from emnat_jax.report.sweep_page import sweep_page, sweep_table
from emnat_jax.sweep.cells import Cell

REPORT_NAME = "sweep.json"
FIGURE_OF = {"test": "student", MULTI: "student_multi"}  # what a gain is of, by split
FIGURES = {  # name -> place in eval.json of the last round
    "teacher": ("teacher", "test", "bleu"),
    "student": ("student", "test", "bleu"),
    "rescored": ("student_rescored", "test", "bleu"),
    "teacher_multi": ("teacher", "test_multi", "bleu"),
    "student_multi": ("student", "test_multi", "bleu"),
    "rescored_multi": ("student_rescored", "test_multi", "bleu"),
    "student_valid": ("student", "valid", "bleu"),
    "chrf": ("student", "test", "chrf"),
    "share_valid": ("student", "test", "share_valid"),
    "length_ratio": ("student", "test", "length_ratio"),
    "repeat_rate": ("student", "test", "repeat_rate"),
    "type_token_ratio": ("student", "test", "type_token_ratio"),
    "ncm": ("ncm", "train", "ncm"),
    "total_correlation": ("ncm", "train", "total_correlation"),
}


def write_sweep_report(
    cells: Sequence[Cell], directory: epath.PathLike, over: str | None = None
) -> dict[str, Any]:
    """Writes report/sweep.json, report/table.txt and report/index.html from whatever is finished.

    Gains are over the cell `over`, in groups without it (None: in all) over the first. UserError for a folder that
    holds no sweep, and where no group has such a cell.
    """
    directory = epath.Path(directory)
    if not (directory / "cells").exists():
        raise UserError(f"{directory} holds no sweep; run one there, or give its --workdir.")
    folder, baselines = directory / "report", _baselines(cells, over)
    with exclusive(folder):
        report = _report(cells, directory, baselines, _known(folder / REPORT_NAME))
        write_texts(folder, {
            REPORT_NAME: json.dumps(report, indent=2, ensure_ascii=False),
            "table.txt": sweep_table(report),
            "index.html": sweep_page(report),
        })  # fmt: skip
    return report


def _baselines(cells: Sequence[Cell], over: str | None) -> dict[str, str]:
    """The cell of each group that its others are compared with."""
    names = dict.fromkeys(cell.name for cell in cells)
    require(over is None or over in names, f"--over={over} names no cell; there are {', '.join(names)}.")
    named = {cell.group: cell.name for cell in cells if cell.name == over}
    return {cell.group: cell.name for cell in reversed(cells)} | named


def _report(
    cells: Sequence[Cell], directory: epath.Path, baselines: dict[str, str], known: dict
) -> dict[str, Any]:
    found = {cell: run for cell in cells if (run := _run(cell, directory)) is not None}
    runs_of = {(cell.group, cell.name, cell.seed): run for cell, run in found.items()}
    for cell, run in found.items():
        other = runs_of.get((cell.group, baselines[cell.group], cell.seed))
        run["gains"] = {} if other in (None, run) else _gains(run, other, directory, cell, known)
    runs = list(found.values())
    return {
        "about": _about(cells, runs, directory),
        "runs": runs,
        "baselines": baselines,
        "cells": _summary(cells, runs),
        "missing": [cell.folder for cell in cells if cell not in found],
        "signatures": runs[0]["signatures"] if runs else {},
    }


def _about(cells: Sequence[Cell], runs: list[dict], directory: epath.Path) -> dict[str, str]:
    """What the runs have in common, as the first of them has it."""
    data, pairs = cells[0].config.data, 0
    if runs:
        train = directory / runs[0]["folder"] / "data/train"
        pairs = load_manifest(train, verify_shards=False).rows_out
    seeds = ", ".join(str(seed) for seed in dict.fromkeys(run["seed"] for run in runs))
    return {
        "source_language": data.source_language,
        "target_language": data.target_language,
        "corpus": corpus_name(vars(data)),
        "pairs": f"{pairs:,}",
        "seeds": seeds,
    }


def _run(cell: Cell, directory: epath.Path) -> dict[str, Any] | None:
    """The figures of a finished run; None before, and of one that was begun with another configuration."""
    here = directory / cell.folder
    if not cell.is_finished(directory) or begun_with_other(here, cell.config) != []:
        return None
    last = max(finished_rounds(here, cell.config.em.rounds))
    result = json.loads((here / f"rounds/{last}/{EVAL_NAME}").read_text())
    updates = {
        role: sum(_updates(here / f"rounds/{n}/{role}") for n in range(last + 1))
        for role in ("teacher", "student")
    }
    return {
        "group": cell.group, "cell": cell.name, "seed": cell.seed, "folder": cell.folder, "round": last, "updates": updates,
        "figures": {name: value for name, path in FIGURES.items() if (value := _at(result, path)) is not None},
        "outputs": {split: _hash(lines) for split in FIGURE_OF if (lines := outputs_of(here, last, split).get("student"))},
        "references": {split: _hash(sets) for split, sets in references_of(cell.config.data, here).items()},
        "signatures": {split: scores["bleu_signature"] for split, scores in result["student"].items() if split != "valid"},
    }  # fmt: skip


def _updates(folder: epath.Path) -> int:
    """Of one training; 0 of a teacher that stays as it is."""
    return load_manifest(folder).options["step"] if is_finished(folder) else 0


def _at(tree: Any, path: Sequence[str]) -> Any:
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _hash(lines: References | list[str]) -> str:
    return hashlib.sha256(json.dumps(lines, ensure_ascii=False).encode()).hexdigest()


def _gains(run: dict, other: dict, directory: epath.Path, cell: Cell, known: dict) -> dict[str, Any]:
    """BLEU of the student over that of the group's baseline, same seed, by split: difference and paired bootstrap.

    Without the splits that were tested on different references.
    """
    gains = {}
    for split, references in run["references"].items():
        if references != other["references"].get(split) or split not in run["outputs"]:
            continue
        key = (run["outputs"][split], other["outputs"][split], references, run["signatures"][split])
        if key not in known:
            known[key] = _p_value(run, other, directory, cell, split)
        name = FIGURE_OF[split]
        difference = run["figures"][name] - other["figures"][name]
        gains[split] = {"over": other["cell"], "bleu": difference, "p_value": known[key], "of": list(key)}
    return gains


def _p_value(run: dict, other: dict, directory: epath.Path, cell: Cell, split: str) -> float:
    ours, theirs = (outputs_of(directory / x["folder"], x["round"], split)["student"] for x in (run, other))
    references = references_of(cell.config.data, directory / run["folder"])[split]
    return paired_significance(ours, theirs, references, names=("BLEU",))["BLEU"].p_value


def _known(path: epath.Path) -> dict[tuple[str, ...], float]:
    """The p values of the report before, by what was compared: a bootstrap takes seconds."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        runs = json.loads(path.read_text())["runs"]
        return {tuple(gain["of"]): gain["p_value"] for run in runs for gain in run["gains"].values()}
    return {}


def _summary(cells: Sequence[Cell], runs: list[dict]) -> list[dict[str, Any]]:
    """A line a cell, in the order of the grid: every figure over its finished seeds."""
    lines = []
    for group, name in dict.fromkeys((cell.group, cell.name) for cell in cells):
        ours = [run for run in runs if (run["group"], run["cell"]) == (group, name)]
        if not ours:
            continue
        lines.append({
            "group": group, "cell": name, "seeds": [run["seed"] for run in ours], "updates": ours[0]["updates"],
            "figures": {figure: over_seeds([run["figures"][figure] for run in ours]) for figure in ours[0]["figures"]},
            "gains": {split: gains for split in FIGURE_OF if (gains := _gains_over_seeds(ours, split))},
        })  # fmt: skip
    return lines


def _gains_over_seeds(runs: list[dict], split: str) -> dict[str, Any] | None:
    found = [run["gains"][split] for run in runs if split in run["gains"]]
    if not found:
        return None
    return over_seeds([gain["bleu"] for gain in found]) | {"p_values": [gain["p_value"] for gain in found]}


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """Mean and sample standard deviation (None of one value)."""
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": spread, "values": list(values)}
