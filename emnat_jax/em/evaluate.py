"""What a round reports: quality of teacher and student, and how multi-modal the student's targets are."""

import dataclasses
import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from emnat_jax.artifacts.atomic import atomic_file
from emnat_jax.artifacts.manifest import read_dataset
from emnat_jax.artifacts.records import Row
from emnat_jax.config import ROLES, TASKS
from emnat_jax.data.corpora import find_file
from emnat_jax.data.multi_references import read_multi_references
from emnat_jax.data.pipeline import Pairs, make_pairs
from emnat_jax.em.plan import EVAL_NAME
from emnat_jax.em.workdir import Workspace
from emnat_jax.evaluation.bleu import References, quality
from emnat_jax.evaluation.lengths import bucket_name, bucket_of, sample_over_lengths
from emnat_jax.evaluation.multimodality import normalised_multimodality, total_correlation
from emnat_jax.inference.alternatives import Alternatives, as_json
from emnat_jax.inference.decode import Candidates, encode_lines, sentence_pairs
from emnat_jax.inference.distill import add_scores
from emnat_jax.inference.model import TrainedModel, best_text
from emnat_jax.types import EOS, NEG_INF

SPLITS = ("valid", "test")
MULTI = "test_multi"  # beside the splits: the sentences of data.test_multi


class _Texts(NamedTuple):
    """What a round translates, by split; without rows and pairs where they are another process's."""

    rows: dict[str, list[Row]]  # of SPLITS
    references: dict[str, References]
    pairs: dict[str, Pairs]


def evaluate_round(work: Workspace, index: int, student_data: epath.PathLike) -> None:
    """Writes rounds/N/outputs and rounds/N/eval.json.

    All processes decode and score together; the first has the sentences, and writes.
    """
    models = {role: work.round_model(index, role) for role in ROLES}
    has_part = work.workers.part.index == 0
    texts = _texts(work, has_part)
    decoded = {
        (name, split): decode(pairs)
        for name, decode in _decoders(work, models).items()
        for split, pairs in texts.pairs.items()
    }
    first_rows = work.config.evaluation.ncm_rows if has_part else 0
    ncm = {
        "train": multimodality_metrics(models, learned_pairs(student_data, first_rows, models["student"])),
        "valid": multimodality_metrics(models, _held_out(work, texts, decoded["teacher", "valid"])),
    }
    places = sample_over_lengths(texts.references["test"][0], work.config.evaluation.samples)
    chosen = _outputs_at(texts.rows["test"], decoded["student", "test"], places)
    alternatives = dict(zip(places, models["student"].alternatives_of(chosen)))
    name = f"rounds/{index}/{EVAL_NAME}"
    work.processes.broadcast(name, lambda: _write(work, index, texts, decoded, ncm, alternatives))


def _texts(work: Workspace, has_part: bool) -> _Texts:
    rows = {
        split: list(read_dataset(work.directory / "data" / split)) if has_part else [] for split in SPLITS
    }
    references = {split: [[row.target_text for row in rows[split]]] for split in SPLITS}
    pairs = {split: make_pairs(iter(rows[split])) for split in SPLITS}
    data = work.config.data
    if data.test_multi is not None:
        sources, references[MULTI] = read_multi_references(find_file(data, "test_multi"))
        lines = encode_lines(sources if has_part else [], work.vocabulary, data.max_length)
        pairs[MULTI] = sentence_pairs(lines)
    return _Texts(rows, references, pairs)


def _write(
    work: Workspace,
    index: int,
    texts: _Texts,
    decoded: dict[tuple[str, str], list[Candidates]],
    ncm: dict[str, Any],
    alternatives: dict[int, Alternatives],
) -> None:
    """The outputs, and what they are worth."""
    folder = work.directory / f"rounds/{index}"
    outputs = {key: [best_text(found, work.vocabulary) for found in value] for key, value in decoded.items()}
    for (role, split), lines in outputs.items():
        _write_text(folder / f"outputs/{split}.{role}.txt", "".join(f"{line}\n" for line in lines))
    systems: dict[str, Any] = {name: {} for name, _ in outputs}
    for (name, split), lines in outputs.items():
        systems[name][split] = dataclasses.asdict(quality(lines, texts.references[split]))
        systems[name][split] |= valid_share(work, lines, texts.rows[split]) if split in SPLITS else {}
    samples = _samples(work, texts.rows["test"], outputs, alternatives)
    result = {"round": index} | systems | {"ncm": ncm, "samples": samples}
    _write_text(folder / EVAL_NAME, json.dumps(result, indent=2, ensure_ascii=False) + "\n")


def _decoders(
    work: Workspace, models: dict[str, TrainedModel]
) -> dict[str, Callable[[Pairs], list[Candidates]]]:
    """The systems that a round reports, by name; the first teacher rescores (METHOD 1.9)."""
    decoders = {role: model.decode for role, model in models.items()}
    count = work.config.evaluation.rescored_candidates
    if count:
        rescored = models["student"].rescored_by(work.round_model(0, "teacher"), count)
        decoders["student_rescored"] = rescored.decode
    return decoders


def figures(work: Workspace, outputs: list[str], rows: list[Row]) -> dict[str, Any]:
    """Scores of one output a row against the raw target lines; on the generated task also the share of valid ones."""
    scores = quality(outputs, [[row.target_text for row in rows]])
    return dataclasses.asdict(scores) | valid_share(work, outputs, rows)


def valid_share(work: Workspace, outputs: list[str], rows: list[Row]) -> dict[str, float]:
    """The share of outputs that the task's checker accepts, where it has one."""
    data = work.config.data
    check = TASKS[data.kind].share_valid
    if check is None:
        return {}
    return {"share_valid": check([row.source_text for row in rows], outputs, data.task_options)}


def multimodality_metrics(models: dict[str, TrainedModel], pairs: Pairs) -> dict[str, Any]:
    """NCM of the targets under the student, teacher NLL of the same, in nats a token (METHOD 1.2).

    `total_correlation`, their difference, estimates what a parallel model cannot express. A target counts by its
    weight. Targets that the student cannot produce at all are left out, unless there are no others: `sentences`
    are those that count, `unreachable` is the share of the others. Nothing where the pairs are another process's.
    """
    student, teacher = models["student"], models["teacher"]
    student_log_prob = student.score_pairs(pairs)
    reachable = student_log_prob > NEG_INF / 2
    if reachable.any():
        pairs, student_log_prob = _rows_of(pairs, np.flatnonzero(reachable)), student_log_prob[reachable]
    teacher_log_prob, lengths, weight = (
        teacher.score_pairs(pairs),
        pairs.target_lengths,
        pairs.weight,
    )
    metrics = student.metrics(pairs)
    if not pairs.size:
        return {}
    ncm = normalised_multimodality(student_log_prob, lengths, weight)
    length = metrics["length_nll"].total if "length_nll" in metrics else 0.0
    return {
        "ncm": ncm,
        "ncm_without_length": ncm - length / float(np.dot(weight, lengths)),
        "teacher_nll": normalised_multimodality(teacher_log_prob, lengths, weight),
        "total_correlation": total_correlation(student_log_prob, teacher_log_prob, lengths, weight),
        "sentences": pairs.size,
        "unreachable": 1.0 - float(np.mean(reachable)),
    }


def _rows_of(pairs: Pairs, index: np.ndarray) -> Pairs:
    """The pairs of these rows, in memory."""
    sources, targets = (
        [tokens[offsets[i] : offsets[i + 1]] for i in index]
        for tokens, offsets in (
            (pairs.source_tokens, pairs.source_offsets),
            (pairs.target_tokens, pairs.target_offsets),
        )
    )
    return sentence_pairs(sources, targets)._replace(weight=pairs.weight[index])


def learned_pairs(directory: epath.PathLike, count: int, student: TrainedModel) -> Pairs:
    """The first `count` sources of a set with what the student learns; the corpus is in no order that this would favour.

    Targets with weights are pairs with these. Of several without it is the one that the student finds likeliest: the
    E-step inside the loss ends with that one alone.
    """
    rows = list(itertools.islice(read_dataset(directory), count))
    if rows and "weight" in rows[0].scores:
        return make_pairs(rows)
    rows = add_scores(rows, {"student": student})
    chosen = (row.targets[int(np.argmax(row.scores["student"]))] for row in rows)
    return sentence_pairs([row.source for row in rows], list(chosen))


def _held_out(work: Workspace, texts: _Texts, decoded: list[Candidates]) -> Pairs:
    """The valid split with targets like those that the student learns: the teacher's outputs, or the references."""
    if work.config.em.student_data == "raw":
        return texts.pairs["valid"]
    return _as_targets(texts.rows["valid"], decoded)


def _as_targets(rows: list[Row], decoded: list[Candidates]) -> Pairs:
    """The sources with the decoded translations as targets."""
    kept = [(row.source, found.tokens[0]) for row, found in zip(rows, decoded, strict=True) if found.tokens]
    return sentence_pairs([source for source, _ in kept], [target for _, target in kept])


def _outputs_at(rows: list[Row], decoded: list[Candidates], places: Sequence[int]) -> Pairs:
    """Sources with the model's own outputs as targets; an empty sentence for one that has none."""
    outputs = [decoded[i].tokens[0] if decoded[i].tokens else np.array([EOS], np.int32) for i in places]
    return sentence_pairs([rows[i].source for i in places], outputs)


def _samples(
    work: Workspace, rows: list[Row], outputs: dict, alternatives: dict[int, Alternatives]
) -> list[dict[str, Any]]:
    """Test sentences with what each system made of them and what the student chose between."""
    pieces, names = work.vocabulary.pieces(), [name for name, split in outputs if split == "test"]
    return [
        {"words": bucket_name(bucket_of(rows[i].target_text)), "source": rows[i].source_text, "reference": rows[i].target_text}
        | {name: outputs[name, "test"][i] for name in names}
        | {"alternatives": as_json(found, pieces)}
        for i, found in alternatives.items()
    ]  # fmt: skip


def _write_text(path: epath.Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(text.encode())
