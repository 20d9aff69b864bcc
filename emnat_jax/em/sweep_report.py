"""What a sweep found: each cell's figures with mean and spread over its seeds, and what it gains over its group's first."""

import hashlib
import json
import statistics
from collections.abc import Sequence
from typing import Any

from etils import epath

from emnat_jax.data.atomic import atomic_file
from emnat_jax.data.manifest import is_finished, load_manifest, read_dataset
from emnat_jax.em.plan import EVAL_NAME
from emnat_jax.em.sweep import Cell
from emnat_jax.evaluation.bleu import paired_significance
from emnat_jax.report.sweep_page import sweep_page

REPORT_NAME = "sweep.json"
FIGURES = {  # name -> place in eval.json of the last round
    "teacher": ("ar", "test", "bleu"),
    "student": ("nar", "test", "bleu"),
    "rescored": ("nar_rescored", "test", "bleu"),
    "teacher_multi": ("ar", "test_multi", "bleu"),
    "student_multi": ("nar", "test_multi", "bleu"),
    "rescored_multi": ("nar_rescored", "test_multi", "bleu"),
    "student_valid": ("nar", "valid", "bleu"),
    "chrf": ("nar", "test", "chrf"),
    "share_valid": ("nar", "test", "share_valid"),
    "length_ratio": ("nar", "test", "length_ratio"),
    "repeat_rate": ("nar", "test", "repeat_rate"),
    "type_token_ratio": ("nar", "test", "type_token_ratio"),
    "ncm": ("ncm", "train", "ncm"),
    "total_correlation": ("ncm", "train", "total_correlation"),
}


def write_sweep_report(cells: Sequence[Cell], directory: epath.PathLike) -> dict[str, Any]:
    """Writes report/sweep.json, report/table.txt and report/index.html from whatever is finished."""
    directory = epath.Path(directory)
    found = [run for cell in cells if (run := _run(cell, directory)) is not None]
    known = _known(directory / "report" / REPORT_NAME)
    runs = [{**run, "gain": _gain(run, found, directory, known)} for run in found]
    report = {
        "runs": runs,
        "cells": _summary(cells, runs),
        "missing": [cell.folder for cell in cells if not cell.is_finished(directory)],
        "signatures": _signatures(runs, directory),
    }
    folder = directory / "report"
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        REPORT_NAME: json.dumps(report, indent=2, ensure_ascii=False),
        "table.txt": sweep_table(report),
        "index.html": sweep_page(report),
    }
    for name, text in texts.items():
        with atomic_file(folder / name) as file:
            file.write(text.encode() + b"\n")
    return report


def _run(cell: Cell, directory: epath.Path) -> dict[str, Any] | None:
    """The figures of a finished run; None before."""
    if not cell.is_finished(directory):
        return None
    here = directory / cell.folder
    last = max(n for n in range(cell.config.em.rounds + 1) if (here / f"rounds/{n}/{EVAL_NAME}").exists())
    result = json.loads((here / f"rounds/{last}/{EVAL_NAME}").read_text())
    updates = {
        role: sum(_updates(here / f"rounds/{n}/{role}") for n in range(last + 1)) for role in ("ar", "nar")
    }
    figures = {name: value for name, path in FIGURES.items() if (value := _at(result, path)) is not None}
    outputs = (here / f"rounds/{last}/outputs/test.nar.txt").read_bytes()
    return {"group": cell.group, "cell": cell.name, "seed": cell.seed, "folder": cell.folder, "round": last,
            "updates": updates, "figures": figures, "outputs": hashlib.sha256(outputs).hexdigest()}  # fmt: skip


def _updates(folder: epath.Path) -> int:
    """Of one training; 0 of a teacher that stays as it is."""
    return load_manifest(folder).options["step"] if is_finished(folder) else 0


def _at(tree: Any, path: Sequence[str]) -> Any:
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _gain(run: dict, runs: list[dict], directory: epath.Path, known: dict) -> dict[str, Any] | None:
    """Test BLEU of the student against that of the group's first cell, same seed: difference and paired bootstrap."""
    group = [other for other in runs if (other["group"], other["seed"]) == (run["group"], run["seed"])]
    first = group[0]
    if first["cell"] == run["cell"]:
        return None
    key = (run["outputs"], first["outputs"])
    if key not in known:
        ours, theirs = (_outputs(item, directory) for item in (run, first))
        rows = read_dataset(directory / run["folder"] / "data" / "test")
        references = [[row.target_text for row in rows]]
        test = paired_significance(ours, theirs, references, names=("BLEU",))["BLEU"]
        known[key] = test["p_value"]
    difference = run["figures"]["student"] - first["figures"]["student"]
    return {"over": first["cell"], "bleu": difference, "p_value": known[key], "of": list(key)}


def _known(path: epath.Path) -> dict[tuple[str, str], float]:
    """The p values of the report before, by the outputs that were compared: a bootstrap takes seconds."""
    if not path.exists():
        return {}
    gains = [run["gain"] for run in json.loads(path.read_text())["runs"]]
    return {tuple(gain["of"]): gain["p_value"] for gain in gains if gain is not None}


def _outputs(run: dict, directory: epath.Path) -> list[str]:
    path = directory / run["folder"] / f"rounds/{run['round']}/outputs/test.nar.txt"
    return path.read_text().split("\n")[:-1]


def _summary(cells: Sequence[Cell], runs: list[dict]) -> list[dict[str, Any]]:
    """A line a cell, in the order of the grid: every figure over its finished seeds."""
    lines = []
    for group, name in dict.fromkeys((cell.group, cell.name) for cell in cells):
        ours = [run for run in runs if (run["group"], run["cell"]) == (group, name)]
        if not ours:
            continue
        gains = [run["gain"] for run in ours if run["gain"] is not None]
        lines.append({
            "group": group, "cell": name, "seeds": [run["seed"] for run in ours], "updates": ours[0]["updates"],
            "figures": {figure: over_seeds([run["figures"][figure] for run in ours]) for figure in ours[0]["figures"]},
            "gain": over_seeds([gain["bleu"] for gain in gains]) if gains else None,
            "p_values": [gain["p_value"] for gain in gains],
        })  # fmt: skip
    return lines


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """Mean and sample standard deviation (None of one value)."""
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": spread, "values": list(values)}


def _signatures(runs: list[dict], directory: epath.Path) -> dict[str, str]:
    """How BLEU was computed, by split."""
    if not runs:
        return {}
    path = directory / runs[0]["folder"] / f"rounds/{runs[0]['round']}/{EVAL_NAME}"
    student = json.loads(path.read_text())["nar"]
    return {split: scores["bleu_signature"] for split, scores in student.items() if split.startswith("test")}


COLUMNS = {"teacher": "teacher", "student": "student", "rescored": "rescored", "student_multi": "student, multi",
           "share_valid": "valid %", "ncm": "NCM"}  # fmt: skip


def sweep_table(report: dict[str, Any]) -> str:
    """A line a cell as plain text."""
    shown = [name for name in COLUMNS if any(name in cell["figures"] for cell in report["cells"])]
    lines = [("cell", "seeds", *(COLUMNS[name] for name in shown), "gain", "p")]
    for cell in report["cells"]:
        figures = [
            _with_spread(cell["figures"].get(name), 100.0 if name == "share_valid" else 1.0) for name in shown
        ]
        p_values = " ".join(f"{p:.3f}" for p in cell["p_values"])
        seeds = ",".join(map(str, cell["seeds"]))
        lines.append(
            (f"{cell['group']}/{cell['cell']}", seeds, *figures, _with_spread(cell["gain"]), p_values)
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    rows = ["  ".join(x.rjust(w) for x, w in zip(line, widths, strict=True)) for line in lines]
    notes = [f"{split}: {signature}" for split, signature in report["signatures"].items()]
    missing = [f"not finished: {', '.join(report['missing'])}"] if report["missing"] else []
    return "\n".join([*rows, *notes, *missing])


def _with_spread(value: dict[str, Any] | None, scale: float = 1.0) -> str:
    if value is None:
        return "-"
    mean = f"{scale * value['mean']:.2f}"
    return mean if value["sd"] is None else f"{mean} ± {scale * value['sd']:.2f}"
