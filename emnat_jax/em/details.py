"""What a report shows beside the figures of the rounds: curves, lengths, sentences, whether EM helped."""

import contextlib
import json
from typing import Any

from etils import epath

from emnat_jax.artifacts.atomic import append
from emnat_jax.artifacts.manifest import read_dataset
from emnat_jax.config import ROLES, DataConfig
from emnat_jax.data.corpora import find_file
from emnat_jax.data.multi_references import read_multi_references
from emnat_jax.em.evaluate import MULTI
from emnat_jax.em.plan import EVAL_NAME
from emnat_jax.em.workdir import Workspace
from emnat_jax.errors import UserError
from emnat_jax.evaluation.bleu import References, paired_significance
from emnat_jax.evaluation.lengths import by_length

SYSTEMS = ("teacher", "student", "student_rescored")
LATENCY_NAME = "latency.jsonl"


def details(work: Workspace, rounds: list[int]) -> dict[str, Any]:
    """Everything of the kind that the finished rounds give; JSON."""
    references = references_of(work.config.data, work.directory) if rounds else {}
    outputs = {
        index: {split: outputs_of(work.directory, index, split) for split in references} for index in rounds
    }
    return {
        "curves": _curves(work, rounds),
        "by_length": {str(index): by_length(found["test"], references["test"][0]) for index, found in outputs.items()},
        "samples": samples([_evaluation(work, index) for index in rounds]),
        "em_effects": em_effects(outputs, references),
        "latency": _latency(work),
    }  # fmt: skip


def references_of(config: DataConfig, directory: epath.Path) -> dict[str, References]:
    """Of a workdir's test split, and of the sentences with several references where their file is still there."""
    found = {"test": [[row.target_text for row in read_dataset(directory / "data" / "test")]]}
    if config.test_multi is not None:
        with contextlib.suppress(UserError):
            found[MULTI] = read_multi_references(find_file(config, "test_multi"))[1]
    return found


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


def em_effects(
    outputs: dict[int, dict[str, dict[str, list[str]]]], references: dict[str, References]
) -> list[dict[str, Any]]:
    """Each system of the last round against that of round 0, by split: BLEU with paired bootstrap.

    `outputs` are lines by round, split and system. Nothing without a later round.
    """
    if len(outputs) < 2:
        return []
    first, *_, last = sorted(outputs)
    effects = []
    for split, lines in references.items():
        for system in outputs[last][split]:
            pair = outputs[last][split][system], outputs[first][split][system]
            found = paired_significance(*pair, lines, names=("BLEU",))["BLEU"]
            effects.append({"system": system, "split": split, "round": last, "before": found.baseline,
                            "after": found.system, "p_value": found.p_value, "signature": found.signature})  # fmt: skip
    return effects


def _evaluation(work: Workspace, index: int) -> dict[str, Any]:
    return json.loads((work.directory / f"rounds/{index}" / EVAL_NAME).read_text())


def outputs_of(directory: epath.Path, index: int, split: str = "test") -> dict[str, list[str]]:
    """The translations of each system of a round."""
    folder = directory / f"rounds/{index}/outputs"
    paths = {name: folder / f"{split}.{name}.txt" for name in SYSTEMS}
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


def round_bleu(work: Workspace, role: str, index: int) -> float | None:
    """BLEU of a round's own outputs on the test split; None of a round that was not evaluated."""
    path = work.directory / f"rounds/{index}/{EVAL_NAME}"
    return json.loads(path.read_text())[role]["test"]["bleu"] if path.exists() else None


def keep_latency(work: Workspace, timing: dict[str, Any]) -> None:
    """Adds a timing to report/latency.jsonl: its name, role, round, device, `bleu` and figures by batch size.

    Its `changes` are the options of decoding that the round did not have.
    """
    path = work.directory / "report" / LATENCY_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    append(path, (json.dumps(timing) + "\n").encode())


def _latency(work: Workspace) -> list[dict[str, Any]]:
    """What `emnat benchmark latency` has measured of this workdir's models."""
    return _json_lines(work.directory / "report" / LATENCY_NAME)


def _json_lines(path: epath.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
