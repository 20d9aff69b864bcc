"""How multi-modal the targets of a round are for its student, and which targets these are.

docs/method.md, section 3.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from etils import epath

from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.artifacts.records import Row
from emnat_jax.data.pairs import Pairs, make_pairs
from emnat_jax.evaluation.multimodality import normalised_multimodality, total_correlation
from emnat_jax.inference.candidates import Candidates
from emnat_jax.inference.distill import add_scores
from emnat_jax.inference.model import TrainedModel
from emnat_jax.inference.sentences import sentence_pairs
from emnat_jax.report.record import Multimodality
from emnat_jax.types import is_impossible


def measure_multimodality(models: Mapping[str, TrainedModel], pairs: Pairs) -> Multimodality | None:
    """NCM of the targets under the student, and the teacher's NLL of the same; a target counts by its weight.

    Targets that the student cannot produce at all are left out, unless there are no others. All processes
    call it together; None where the pairs are another's.
    """
    student, teacher = models["student"], models["teacher"]
    student_log_prob = student.score_pairs(pairs)
    reachable = ~is_impossible(student_log_prob)
    if reachable.any():
        pairs, student_log_prob = _rows_of(pairs, np.flatnonzero(reachable)), student_log_prob[reachable]
    teacher_log_prob, metrics = teacher.score_pairs(pairs), student.metrics(pairs)
    if not pairs.size:
        return None
    lengths, weight = pairs.target_lengths, pairs.weight
    ncm = normalised_multimodality(student_log_prob, lengths, weight)
    length_nll = float(metrics["length_nll"].total) if "length_nll" in metrics else 0.0
    return Multimodality(
        ncm=ncm,
        ncm_without_length=ncm - length_nll / float(np.dot(weight, lengths)),
        teacher_nll=normalised_multimodality(teacher_log_prob, lengths, weight),
        total_correlation=total_correlation(student_log_prob, teacher_log_prob, lengths, weight),
        sentences=pairs.size,
        unreachable=1.0 - float(np.mean(reachable)),
    )


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


def learned_pairs(directory: epath.PathLike, count: int, student: TrainedModel, *, targets: int = 1) -> Pairs:
    """The first `count` sources of a set with what the student learns; the corpus is in no particular order.

    Targets with weights are pairs with these weights. Of `targets` without weights, which the
    E-step inside the loss weighs, it is the one that the student finds likeliest.
    """
    rows = list(itertools.islice(read_dataset(directory), count))
    if targets == 1 or (rows and "weight" in rows[0].scores):
        return make_pairs(rows)
    rows = add_scores(rows, {"student": student})
    chosen = (row.targets[int(np.argmax(row.scores["student"]))] for row in rows)
    return sentence_pairs([row.source for row in rows], list(chosen))


def outputs_as_targets(rows: Sequence[Row], decoded: Sequence[Candidates]) -> Pairs:
    """The sources with the decoded translations as targets; without those that have none."""
    kept = [(row.source, found.tokens[0]) for row, found in zip(rows, decoded, strict=True) if found.tokens]
    return sentence_pairs([source for source, _ in kept], [target for _, target in kept])
