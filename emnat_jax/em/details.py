"""What a report shows beside the figures of the rounds: curves, lengths, sentences, whether EM helped."""

import json
from typing import Any

from etils import epath

from emnat_jax.data.atomic import append
from emnat_jax.data.manifest import read_dataset
from emnat_jax.em.plan import EVAL_NAME
from emnat_jax.em.workspace import ROLES, Workspace
from emnat_jax.evaluation.bleu import paired_significance
from emnat_jax.evaluation.lengths import by_length

SYSTEMS = ("ar", "nar", "nar_rescored")
LATENCY_NAME = "latency.jsonl"


def details(work: Workspace, rounds: list[int]) -> dict[str, Any]:
    """Everything of the kind that the finished rounds give; JSON."""
    rows = list(read_dataset(work.directory / "data" / "test")) if rounds else []
    references = [row.target_text for row in rows]
    outputs = {index: outputs_of(work.directory, index) for index in rounds}
    return {
        "curves": _curves(work, rounds),
        "by_length": {str(index): by_length(outputs[index], references) for index in rounds},
        "samples": samples([_evaluation(work, index) for index in rounds]),
        "em_effect": em_effect(outputs, references),
        "latency": _latency(work),
    }


def finished_rounds(directory: epath.Path, rounds: int) -> list[int]:
    """The rounds of a workdir that were evaluated, of 0 to `rounds`, in order."""
    return [index for index in range(rounds + 1) if (directory / f"rounds/{index}" / EVAL_NAME).exists()]


def samples(evaluations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The example sentences that all rounds have, with what each round made of them."""
    by_round = {
        result["round"]: {item["source"]: item for item in result["samples"] if "words" in item}
        for result in evaluations
    }
    first, *others = by_round.values() if by_round else [{}]
    return [
        {key: item[key] for key in ("words", "source", "reference")}
        | {"rounds": [{"round": index, **items[source]} for index, items in by_round.items()]}
        for source, item in first.items()
        if all(source in items for items in others)
    ]


def em_effect(outputs: dict[int, dict[str, list[str]]], references: list[str]) -> dict[str, Any] | None:
    """The last student against round 0's: paired bootstrap on the test split.

    None without a later round.
    """
    if len(outputs) < 2:
        return None
    first, *_, last = sorted(outputs)
    found = paired_significance(outputs[last]["nar"], outputs[first]["nar"], [references], names=("BLEU",))[
        "BLEU"
    ]
    return {"round": last, "before": found["baseline"], "after": found["system"], "p_value": found["p_value"],
            "signature": found["signature"]}  # fmt: skip


def _evaluation(work: Workspace, index: int) -> dict[str, Any]:
    return json.loads((work.directory / f"rounds/{index}" / EVAL_NAME).read_text())


def outputs_of(directory: epath.Path, index: int) -> dict[str, list[str]]:
    """The test translations of each system of a round."""
    folder = directory / f"rounds/{index}/outputs"
    paths = {name: folder / f"test.{name}.txt" for name in SYSTEMS}
    return {name: path.read_text().split("\n")[:-1] for name, path in paths.items() if path.exists()}


def _curves(work: Workspace, rounds: list[int]) -> list[dict[str, Any]]:
    """Loss by update of every training: of the training data, and of the valid split."""
    curves = []
    for index in rounds:
        for role in ROLES:
            lines = _json_lines(work.directory / f"rounds/{index}/{role}/metrics.jsonl")
            points = {
                name: [[line["step"], line[name]] for line in lines if name in line]
                for name in ("loss", "valid_loss")
            }
            curves.append({"round": index, "role": role, **points})
    return curves


def keep_latency(
    work: Workspace, role: str, index: int | None, changes: dict[str, Any], figures: dict[str, Any]
) -> None:
    """Adds a timing to report/latency.jsonl. `bleu` is that of the round's own outputs, None where they differ.

    `index` is the round, None for the last finished one; `changes` are options that the round did not have.
    """
    index = (
        max(finished_rounds(work.directory, work.config.em.rounds), default=None) if index is None else index
    )
    bleu, path = None, work.directory / f"rounds/{index}/{EVAL_NAME}"
    if not changes and path.exists():
        bleu = json.loads(path.read_text())[role]["test"]["bleu"]
    name = ", ".join([f"{role}, round {index}", *(f"{key}={value}" for key, value in changes.items())])
    line = {"name": name, "role": role, "round": index, "bleu": bleu, "figures": figures}
    path = work.directory / "report" / LATENCY_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    append(path, (json.dumps(line) + "\n").encode())


def _latency(work: Workspace) -> list[dict[str, Any]]:
    """What `emnat benchmark latency` has measured of this workdir's models."""
    return _json_lines(work.directory / "report" / LATENCY_NAME)


def _json_lines(path: epath.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
