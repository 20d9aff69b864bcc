"""Statistics of the choices: which ranks were taken, how likely they are, how near to the references."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from emnat_jax.artifacts.records import REFERENCE, Row
from emnat_jax.data.vocab import Vocabulary
from emnat_jax.evaluation.bleu import sentence_quality

COMPARED_ROWS = 1_000  # the first of a set are compared with their references, whatever the rule


def count_choices(candidates: list[Row], chosen: list[Row]) -> dict[str, float]:
    """Sums over the rows of one shard, each choice by its weight; `rank 0` counts the best ranked."""
    sums: defaultdict[str, float] = defaultdict(float)
    for row, choice in zip(candidates, chosen, strict=True):
        shares = choice.scores.get("weight", np.ones(1))
        references = choice.scores.get(REFERENCE, np.zeros(len(shares)))
        for place, share in enumerate(map(float, shares)):
            sums[f"rank {int(choice.scores['rank'][place])}"] += share
            sums["tokens"] += share * len(choice.targets[place])
            sums["references"] += share * float(references[place])
            if "teacher0_log_prob" in row.scores:
                sums["teacher0"] += share * float(choice.scores["teacher0_log_prob"][place])
        sums["rows"] += 1
        sums["targets"] += len(choice.targets)
        sums["candidates"] += len(row.targets)
        sums["teacher_tokens"] += len(row.targets[0])
        if "teacher0_log_prob" in row.scores:
            sums["rank1_teacher0"] += float(row.scores["teacher0_log_prob"][0])
    return sums


def compare_choices(candidates: list[Row], chosen: list[Row], vocabulary: Vocabulary) -> dict[str, float]:
    """Sums of sentence chrF++, from 0 to 1, over the rows of one shard that have a reference.

    Of the choices, each by its weight, and of the first places.
    """
    sums: defaultdict[str, float] = defaultdict(float)
    quality = sentence_quality("chrf")
    for row, choice in zip(candidates, chosen, strict=True):
        if not row.target_text:
            continue
        texts = [vocabulary.decode(target) for target in (row.targets[0], *choice.targets)]
        first, *others = quality(texts, row.target_text)
        sums["quality"] += float(np.dot(others, choice.scores.get("weight", np.ones(1))))
        sums["rank1_quality"] += first
        sums["compared"] += 1
    return sums


def summarise_choices(sums: Mapping[str, float | int]) -> dict[str, Any]:
    """The figures of `report.record.Selection` out of the sums over all shards."""
    sums = defaultdict(float, sums)
    ranks = {int(name.split()[1]): count for name, count in sums.items() if name.startswith("rank ")}
    rows, compared = max(sums["rows"], 1), int(sums["compared"])
    return {
        "rank_histogram": [ranks.get(rank, 0) for rank in range(max(ranks, default=-1) + 1)],
        "agreement": ranks.get(0, 0) / rows,
        "references": sums["references"] / rows,
        "targets_per_source": sums["targets"] / rows,
        "candidates_per_source": sums["candidates"] / rows,
        "teacher0_log_prob_per_token": sums["teacher0"] / max(sums["tokens"], 1),
        "rank1_teacher0_log_prob_per_token": sums["rank1_teacher0"] / max(sums["teacher_tokens"], 1),
        "tokens_per_target": sums["tokens"] / rows,
        "compared_rows": compared,
        "quality": sums["quality"] / compared if compared else None,
        "rank1_quality": sums["rank1_quality"] / compared if compared else None,
    }
