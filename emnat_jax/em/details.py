"""What a report shows beside the figures of the rounds: curves, lengths, sentences, whether EM helped."""

import json
from typing import Any

from etils import epath

from emnat_jax.data.atomic import append
from emnat_jax.data.manifest import read_dataset
from emnat_jax.em.plan import EVAL_NAME
from emnat_jax.em.workspace import ROLES, Workspace
from emnat_jax.evaluation.bleu import paired_significance, quality

SYSTEMS = ("ar", "nar", "nar_rescored")
LENGTHS = ((1, 5), (6, 10), (11, 20), (21, None))  # words of the reference, first and last of a bucket
LATENCY_NAME = "latency.jsonl"


def details(work: Workspace, rounds: list[int]) -> dict[str, Any]:
    """Everything of the kind that the finished rounds give; JSON."""
    rows = list(read_dataset(work.directory / "data" / "test")) if rounds else []
    sources, references = [row.source_text for row in rows], [row.target_text for row in rows]
    outputs = {index: _outputs(work.directory, index) for index in rounds}
    return {
        "curves": _curves(work, rounds),
        "by_length": {str(index): by_length(outputs[index], references) for index in rounds},
        "samples": samples(sources, references, outputs, work.config.evaluation.samples),
        "em_effect": em_effect(outputs, references),
        "latency": _latency(work),
    }


def finished_rounds(work: Workspace) -> list[int]:
    """The rounds that were evaluated, in order."""
    rounds = range(work.config.em.rounds + 1)
    return [index for index in rounds if (work.directory / f"rounds/{index}" / EVAL_NAME).exists()]


def bucket_of(reference: str) -> int:
    """The number of the bucket in LENGTHS."""
    words = max(1, len(reference.split()))
    return next(place for place, (_, last) in enumerate(LENGTHS) if last is None or words <= last)


def bucket_name(place: int) -> str:
    """As a reader sees it, e.g. 6-10."""
    first, last = LENGTHS[place]
    return f"{first}+" if last is None else f"{first}-{last}"


def by_length(outputs: dict[str, list[str]], references: list[str]) -> list[dict[str, Any]]:
    """Corpus BLEU of each system on the test sentences of a length, by words of the reference."""
    found = []
    for place in range(len(LENGTHS)):
        chosen = [i for i, reference in enumerate(references) if bucket_of(reference) == place]
        if chosen:
            wanted = [[references[i] for i in chosen]]
            bleu = {
                name: quality([lines[i] for i in chosen], wanted)["bleu"] for name, lines in outputs.items()
            }
            found.append({"words": bucket_name(place), "sentences": len(chosen), "bleu": bleu})
    return found


def samples(
    sources: list[str], references: list[str], outputs: dict[int, dict[str, list[str]]], count: int
) -> list[dict[str, Any]]:
    """About `count` test sentences, as many of each length, with the outputs of all rounds."""
    places = [
        [i for i, line in enumerate(references) if bucket_of(line) == place] for place in range(len(LENGTHS))
    ]
    filled = [place for place in places if place]
    each = -(-count // max(len(filled), 1))
    found = []
    for place in filled:
        step = max(1, len(place) // max(each, 1))
        for i in place[::step][:each]:
            rounds = [
                {"round": index} | {name: lines[i] for name, lines in systems.items()}
                for index, systems in outputs.items()
            ]
            about = {
                "words": bucket_name(bucket_of(references[i])),
                "source": sources[i],
                "reference": references[i],
            }
            found.append(about | {"rounds": rounds})
    return found


def em_effect(outputs: dict[int, dict[str, list[str]]], references: list[str]) -> dict[str, Any] | None:
    """The last student against round 0's, which learned from plain distillation: paired bootstrap on the test split.

    None without a later round.
    """
    if len(outputs) < 2:
        return None
    first, *_, last = sorted(outputs)
    found = paired_significance(outputs[last]["nar"], outputs[first]["nar"], [references])["BLEU"]
    return {"round": last, "before": found["baseline"], "after": found["system"], "p_value": found["p_value"],
            "signature": found["signature"]}  # fmt: skip


def _outputs(directory: epath.Path, index: int) -> dict[str, list[str]]:
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
    index = max(finished_rounds(work), default=None) if index is None else index
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
