"""The E-step over a data set: candidates with scores become chosen records, with statistics."""

import dataclasses
from collections import Counter
from collections.abc import Iterable

import numpy as np
from etils import epath

from emnat_jax.artifacts.manifest import Manifest, finish_dataset, load_manifest
from emnat_jax.artifacts.records import Row, read_shard
from emnat_jax.artifacts.shards import read_or_make
from emnat_jax.config import RULES, SelectConfig
from emnat_jax.config.convert import to_dict
from emnat_jax.data.shard_workers import Shard, ShardWorkers, make_shards, own_shards
from emnat_jax.data.vocab import Vocabulary
from emnat_jax.errors import UserError
from emnat_jax.estep.constraints import configured_weights, constrained_weights
from emnat_jax.estep.posterior import (
    Scores,
    Weights,
    choose,
    posterior_score,
    posterior_weights,
    refuse_nan,
    sample,
)
from emnat_jax.evaluation.sentence import sentence_quality
from emnat_jax.inference.distill import REFERENCE
from emnat_jax.types import NEG_INF

COLUMNS = ("student_log_prob", "teacher0_log_prob")
# Of a source's largest share: a lighter candidate is left out of a weighted set, it costs as much as any other.
SMALLEST = 0.01


@dataclasses.dataclass(frozen=True)
class Rule:
    """Everything that decides what is taken of a row."""

    config: SelectConfig
    weights: Weights
    vocabulary: Vocabulary | None = None  # only to compare candidates with references
    seed: int = 0
    where: epath.PathLike = "candidates"  # for messages


def select(
    source: epath.PathLike,
    output: epath.PathLike,
    config: SelectConfig,
    *,
    vocabulary: Vocabulary,
    seed: int = 0,
    workers: ShardWorkers = ShardWorkers(),
) -> Manifest:
    """Makes a `selected` set: of every row of a `candidates` set the target or targets that the rule chooses.

    Each process makes its own shards. The manifest's options hold the weights, those that a floor fixed too,
    and statistics: ranks chosen, agreement with the teacher's best, log p_teacher0 a token of the choices and of
    the teacher's best. Raises UserError for missing columns and for a floor that no weight reaches.
    """
    source, output = epath.Path(source), epath.Path(output)
    read = load_manifest(source, expect={"vocabulary": vocabulary.fingerprint})
    fingerprints = dict(read.fingerprints) | {"source": read.content_hash}
    rule, floor = Rule(config, configured_weights(config), vocabulary, seed, source), {}
    if config.min_quality is not None or config.max_drift is not None:
        shards = {name: offered(read_shard(source / name), config) for name in own_shards(read, workers)}
        tables = {name: score_table(rows, rule) for name, rows in shards.items() if rows}
        weights, floor = constrained_weights(config, tables, workers.processes)
        rule = dataclasses.replace(rule, weights=weights)

    def make(name: str | None) -> dict[str, dict]:
        if name is None or not workers.part.writes:
            return {}
        candidates = offered(read_shard(source / name), config)
        chosen = read_or_make(output / name, lambda: choose_rows(candidates, rule))
        return {"sums": dict(_statistics(candidates, chosen))}

    options = {"select": to_dict(config), "weights": rule.weights._asdict()} | floor

    def finish(shards: list[Shard]) -> Manifest:
        statistics = Counter()
        for shard in shards:
            statistics.update(shard["sums"])
        dropped = {"no_candidate": read.rows_out - sum(shard["rows"] for shard in shards)}
        return finish_dataset(
            output, "selected", shards=shards, rows_in=read.rows_out, dropped=dropped, fingerprints=fingerprints,
            options=options | {"statistics": summary(statistics)}, seed=seed,
        )  # fmt: skip

    plan = {"options": options, "fingerprints": fingerprints, "seed": seed}
    return make_shards(read, output, plan, make, finish, workers)


def offered(rows: Iterable[Row], config: SelectConfig) -> list[Row]:
    """The rows that have something to choose: not those with a reference alone, where the rule leaves it out."""
    return [row for row in rows if config.include_reference or not np.all(row.scores.get(REFERENCE, 0))]


def choose_rows(rows: list[Row], rule: Rule) -> list[Row]:
    """Each row with what the rule chooses: one target or, weighted, several; their scores and ranks."""
    if not rows:
        return []
    config, scores = rule.config, score_table(rows, rule)
    if config.output == "hard":
        choice = choose(config.rule, scores, rule.weights)
        return [_only(row, [int(index)]) for row, index in zip(rows, choice, strict=True)]
    refuse_nan(posterior_score(scores, rule.weights), scores.keep, config.rule)
    table = posterior_weights(scores, rule.weights)
    if config.output == "sampled":
        uniform = np.array([np.random.default_rng((rule.seed, row.row)).random() for row in rows])
        return [_only(row, [int(index)]) for row, index in zip(rows, sample(table, uniform), strict=True)]
    return [_weighted(row, line) for row, line in zip(rows, table, strict=True)]


def score_table(rows: list[Row], rule: Rule) -> Scores:
    """The scores of all candidates, [rows, K], as the rule counts them. UserError where a column is missing."""
    config = rule.config
    missing = [name for name in RULES[config.rule].needs if name not in rows[0].scores]
    if missing:
        raise UserError(
            f"select.rule={config.rule} needs the column {missing[0]}, which {rule.where} does not have; "
            f"add it in a new folder: emnat score --model=... --data={rule.where} --column={missing[0]} --output=..."
        )
    width = max(len(row.targets) for row in rows)
    keep = np.arange(width) < np.array([len(row.targets) for row in rows])[:, None]
    keep &= ~_left_out(rows, width, rule)
    lengths = _padded([[len(target) for target in row.targets] for row in rows], width, 1.0).astype(int)
    columns = [_padded([row.scores.get(name, []) for row in rows], width, NEG_INF) for name in COLUMNS]
    quality = None
    if config.needs_quality:
        quality = _padded([_quality(row, rule) for row in rows], width, 0.0)
    return Scores(*columns, keep, lengths if config.normalise_length else None, quality)


def _left_out(rows: list[Row], width: int, rule: Rule) -> np.ndarray:
    """bool[rows, K]: the references, where the rule does not take them. UserError where it would, and there are none."""
    wanted = rule.config.include_reference
    if wanted and REFERENCE not in rows[0].scores:
        raise UserError(
            f"select.include_reference=True: {rule.where} has no references among its candidates; make the set "
            "with emnat distill --include-reference."
        )
    marked = _padded([row.scores.get(REFERENCE, []) for row in rows], width, 0.0) == 1
    return marked & (not wanted)


def _quality(row: Row, rule: Rule) -> list[float]:
    outputs = [rule.vocabulary.decode(target) for target in row.targets]
    return sentence_quality(rule.config.quality, outputs, row.target_text)


def _padded(rows: list, width: int, filler: float) -> np.ndarray:
    """f64[n, width] of ragged rows."""
    table = np.full((len(rows), width), filler, np.float64)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return table


def _only(row: Row, ranks: list[int]) -> Row:
    scores = {name: column[ranks] for name, column in row.scores.items()}
    scores["rank"] = np.array(ranks, np.float32)
    return dataclasses.replace(row, targets=[row.targets[rank] for rank in ranks], scores=scores)


def _weighted(row: Row, weights: np.ndarray) -> Row:
    """The candidates that weigh something, best ranked first, and their weights, which sum to 1."""
    ranks = [int(rank) for rank in np.flatnonzero(weights >= SMALLEST * weights.max())]
    chosen = _only(row, ranks)
    chosen.scores["weight"] = (weights[ranks] / weights[ranks].sum()).astype(np.float32)
    return chosen


def _statistics(candidates: list[Row], chosen: list[Row]) -> Counter:
    """Sums over the rows of one shard, each choice by its weight; ranks are counted under their number."""
    sums = Counter()
    for row, choice in zip(candidates, chosen, strict=True):
        shares = choice.scores.get("weight", np.ones(1))
        for place, share in enumerate(map(float, shares)):
            sums[f"rank {int(choice.scores['rank'][place])}"] += share
            sums["tokens"] += share * len(choice.targets[place])
            sums["references"] += share * float(choice.scores.get(REFERENCE, np.zeros(len(shares)))[place])
            if "teacher0_log_prob" in row.scores:
                sums["teacher0"] += share * float(choice.scores["teacher0_log_prob"][place])
        sums["rows"] += 1
        sums["targets"] += len(choice.targets)
        sums["candidates"] += len(row.targets)
        sums["teacher_tokens"] += len(row.targets[0])
        if "teacher0_log_prob" in row.scores:
            sums["rank1_teacher0"] += float(row.scores["teacher0_log_prob"][0])
    return sums


def summary(sums: Counter) -> dict:
    """Histogram of ranks, agreement, and nats a token under round 0's teacher."""
    ranks = {int(name.split()[1]): count for name, count in sums.items() if name.startswith("rank ")}
    rows = max(sums["rows"], 1)
    return {
        "rank_histogram": [ranks.get(rank, 0) for rank in range(max(ranks, default=-1) + 1)],
        "agreement": ranks.get(0, 0) / rows,
        "references": sums["references"] / rows,
        "targets_per_source": sums["targets"] / rows,
        "candidates_per_source": sums["candidates"] / rows,
        "teacher0_log_prob_per_token": sums["teacher0"] / max(sums["tokens"], 1),
        "rank1_teacher0_log_prob_per_token": sums["rank1_teacher0"] / max(sums["teacher_tokens"], 1),
        "tokens_per_target": sums["tokens"] / rows,
    }
