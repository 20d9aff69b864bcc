"""The E-step over a data set: candidates with scores become chosen records, with statistics."""

import dataclasses
from collections import Counter

import numpy as np
from etils import epath

from emnat_jax.config import SelectConfig
from emnat_jax.data.manifest import Manifest, finish_dataset, load_manifest
from emnat_jax.data.records import Row, read_shard
from emnat_jax.data.shards import read_or_make
from emnat_jax.em.select import choose
from emnat_jax.em.shards import Crew, Shard, make_shards
from emnat_jax.errors import UserError
from emnat_jax.types import NEG_INF

COLUMNS = ("nar_log_prob", "ar0_log_prob")


def select(
    source: epath.PathLike,
    output: epath.PathLike,
    config: SelectConfig,
    *,
    vocabulary: str,
    crew: Crew = Crew(),
) -> Manifest:
    """Makes a `selected` set: of every row of a `candidates` set the target that the rule chooses.

    Each process makes its own shards. The statistics stand in the manifest's options: ranks chosen, agreement
    with the teacher's best, log p_AR0 a token of the choices and of the teacher's best.
    """
    source, output = epath.Path(source), epath.Path(output)
    read = load_manifest(source, expect={"vocabulary": vocabulary})
    fingerprints = dict(read.fingerprints) | {"source": read.content_hash}

    def make(name: str | None) -> dict[str, dict]:
        if name is None or not crew.part.writes:
            return {}
        candidates = list(read_shard(source / name))
        chosen = read_or_make(output / name, lambda: choose_rows(candidates, config, source))
        return {"sums": dict(_statistics(candidates, chosen))}

    def finish(shards: list[Shard]) -> Manifest:
        statistics = Counter()
        for shard in shards:
            statistics.update(shard["sums"])
        options = {"select": dataclasses.asdict(config), "statistics": summary(statistics)}
        return finish_dataset(
            output, "selected", shards=shards, rows_in=read.rows_out, dropped={},
            fingerprints=fingerprints, options=options, seed=read.seed,
        )  # fmt: skip

    plan = {"options": dataclasses.asdict(config), "fingerprints": fingerprints}
    return make_shards(read, output, plan, make, finish, crew)


def choose_rows(rows: list[Row], config: SelectConfig, where: epath.PathLike = "candidates") -> list[Row]:
    """Each row with the one target that `config.rule` chooses, its scores and its rank."""
    if not rows:
        return []
    missing = [name for name in COLUMNS if config.rule != "ar_top1" and name not in rows[0].scores]
    if missing:
        raise UserError(
            f"select.rule={config.rule} needs the column {missing[0]}, which {where} does not have; "
            f"add it: emnat score --data={where} --column={missing[0]}"
        )
    width = max(len(row.targets) for row in rows)
    keep = np.arange(width) < np.array([len(row.targets) for row in rows])[:, None]
    lengths = _padded([[len(target) for target in row.targets] for row in rows], width, 1.0).astype(int)
    scores = {name: _padded([row.scores.get(name, []) for row in rows], width, NEG_INF) for name in COLUMNS}
    choice = choose(config.rule, keep=keep, lengths=lengths, config=config, **scores)
    return [_only(row, int(index)) for row, index in zip(rows, choice, strict=True)]


def _padded(rows: list, width: int, filler: float) -> np.ndarray:
    """f64[n, width] of ragged rows."""
    table = np.full((len(rows), width), filler, np.float64)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return table


def _only(row: Row, index: int) -> Row:
    scores = {name: column[index : index + 1] for name, column in row.scores.items()}
    scores["rank"] = np.array([index], np.float32)
    return dataclasses.replace(row, targets=[row.targets[index]], scores=scores)


def _statistics(candidates: list[Row], chosen: list[Row]) -> Counter:
    """Sums over the rows of one shard; ranks are counted under their number."""
    sums = Counter()
    for row, choice in zip(candidates, chosen, strict=True):
        sums[f"rank {int(choice.scores['rank'][0])}"] += 1
        sums["rows"] += 1
        sums["candidates"] += len(row.targets)
        sums["tokens"] += len(choice.targets[0])
        sums["teacher_tokens"] += len(row.targets[0])
        if "ar0_log_prob" in row.scores:
            sums["ar0"] += float(choice.scores["ar0_log_prob"][0])
            sums["teacher_ar0"] += float(row.scores["ar0_log_prob"][0])
    return sums


def summary(sums: Counter) -> dict:
    """Histogram of ranks, agreement, and nats a token under round 0's teacher."""
    ranks = {int(name.split()[1]): count for name, count in sums.items() if name.startswith("rank ")}
    return {
        "rank_histogram": [ranks.get(rank, 0) for rank in range(max(ranks, default=-1) + 1)],
        "agreement": ranks.get(0, 0) / max(sums["rows"], 1),
        "candidates_per_source": sums["candidates"] / max(sums["rows"], 1),
        "ar0_log_prob_per_token": sums["ar0"] / max(sums["tokens"], 1),
        "teacher_ar0_log_prob_per_token": sums["teacher_ar0"] / max(sums["teacher_tokens"], 1),
        "tokens_per_target": sums["tokens"] / max(sums["rows"], 1),
    }
