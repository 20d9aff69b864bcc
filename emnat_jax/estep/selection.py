"""The E-step over a data set: of every source's candidates the rule chooses those that become targets."""

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import BinaryIO

import numpy as np
from etils import epath

from emnat_jax.artifacts.atomic import user_errors
from emnat_jax.artifacts.dataset import Provenance, read_part
from emnat_jax.artifacts.manifest import SETS, Manifest
from emnat_jax.artifacts.records import REFERENCE, Row
from emnat_jax.artifacts.shards import UnfinishedSet
from emnat_jax.config import RULES, Scoring, SelectConfig
from emnat_jax.config.convert import to_dict
from emnat_jax.data.shard_workers import Conclusion, ShardWorkers, derive_dataset
from emnat_jax.data.stored_sets import load_verified
from emnat_jax.data.vocab import Vocabulary
from emnat_jax.errors import UserError
from emnat_jax.estep.constraints import constrained_weights
from emnat_jax.estep.posterior import posterior_weights, sample
from emnat_jax.estep.rules import choose, rule_scores
from emnat_jax.estep.score_file import ScoreFile
from emnat_jax.estep.scores import Scores, Weights, padded
from emnat_jax.estep.statistics import COMPARED_ROWS, compare_choices, count_choices, summarise_choices
from emnat_jax.evaluation.bleu import sentence_quality
from emnat_jax.types import NEG_INF

# Share of a source's largest weight. Lighter candidates are left out of a weighted set: each would cost as
# much training time as any other.
SMALLEST = 0.01


@dataclasses.dataclass(frozen=True)
class Selector:
    """Everything that decides which of a row's candidates are chosen."""

    config: SelectConfig
    vocabulary: Vocabulary | None = None  # to compare candidates with references
    seed: int = 0
    where: epath.PathLike = "candidates"  # the set, for messages
    scoring: Scoring = Scoring()  # how candidates are compared with references


def select(
    source: epath.PathLike,
    output: epath.PathLike,
    config: SelectConfig,
    *,
    vocabulary: Vocabulary,
    seed: int = 0,
    scoring: Scoring = Scoring(),
    workers: ShardWorkers = ShardWorkers(),
) -> Manifest:
    """Makes a `selected` set: every row of a `candidates` set with what the rule chooses of its targets.

    Each process makes its own shards. The manifest's options hold the rule, the weights (also one that a
    constraint has raised) and statistics: ranks chosen, agreement with the teacher's best, log p_teacher0 a
    token and sentence chrF++ of the choices and of the teacher's best. Raises UserError for missing columns
    and for a constraint that no weight meets.
    """
    source, output = epath.Path(source), epath.Path(output)
    expect = {"vocabulary": vocabulary.fingerprint}
    read = load_verified(source, workers.processes, expect=expect, kinds=SETS)
    selector = Selector(config, vocabulary, seed, source, scoring)
    scored_by = {"scoring": dataclasses.asdict(scoring)} if config.needs_quality else {}
    with tempfile.TemporaryFile() as file, user_errors(tempfile.gettempdir()):
        tables = _tables(read, selector, workers, file)
        weights, constraint = constrained_weights(config, tables, workers.processes)
    provenance = Provenance(
        "selected",
        fingerprints={**read.fingerprints, "source": read.content_hash},
        options={"select": to_dict(config), **scored_by, "weights": weights._asdict(), **constraint},
        seed=seed,
    )

    compared = _compared_rows(read)

    def make_shard(unfinished: UnfinishedSet, name: str | None) -> Mapping[str, int | float]:
        if name is None or not workers.part.writes:
            return {}
        rows = list(read_part(source, read, name))
        candidates = offered(rows, config)
        chosen = unfinished.read_or_make(name, lambda: choose_rows(candidates, selector, weights))
        first = offered(rows[: compared[name]], config)
        found = compare_choices(first, chosen[: len(first)], vocabulary)
        return {**count_choices(candidates, chosen), **found}

    def conclude(rows: int, counts: Mapping[str, int | float]) -> Conclusion:
        return Conclusion({"no_candidate": read.rows_out - rows}, {"statistics": summarise_choices(counts)})

    return derive_dataset(read, output, provenance, make_shard=make_shard, conclude=conclude, workers=workers)


def _compared_rows(read: Manifest) -> dict[str, int]:
    """Of each shard how many rows are compared with references: the first of the whole set."""
    left, found = COMPARED_ROWS, {}
    for shard in read.shards:
        found[shard["name"]] = min(left, shard["rows"])
        left -= found[shard["name"]]
    return found


def _tables(read: Manifest, selector: Selector, workers: ShardWorkers, file: BinaryIO) -> ScoreFile:
    """The scores of this process's shards by name, where a constraint needs them; else nothing is read."""
    config, tables = selector.config, ScoreFile(file)
    if config.min_quality is not None or config.max_drift is not None:
        for name in workers.own_shards(read):
            if rows := offered(read_part(selector.where, read, name), config):
                tables.add(name, score_table(rows, selector))
    return tables


def offered(rows: Iterable[Row], config: SelectConfig) -> list[Row]:
    """The rows with a candidate to choose; a reference counts as one only where it may be chosen."""
    return [row for row in rows if config.include_reference or not np.all(row.scores.get(REFERENCE, 0))]


def choose_rows(rows: list[Row], selector: Selector, weights: Weights) -> list[Row]:
    """Each row with what the rule chooses: one target or, weighted, several; their scores and ranks."""
    if not rows:
        return []
    config, scores = selector.config, score_table(rows, selector)
    if config.output == "hard":
        choice = choose(config, scores, weights)
        return [_only(row, [int(index)]) for row, index in zip(rows, choice, strict=True)]
    shares = posterior_weights(rule_scores(config, scores, weights))
    if config.output == "sampled":
        uniform = np.array([np.random.default_rng((selector.seed, row.row)).random() for row in rows])
        return [_only(row, [int(index)]) for row, index in zip(rows, sample(shares, uniform), strict=True)]
    return [_weighted(row, line) for row, line in zip(rows, shares, strict=True)]


def score_table(rows: list[Row], selector: Selector) -> Scores:
    """The scores of all candidates, [rows, K]. UserError where a column that the rule needs is missing."""
    config, needed = selector.config, RULES[selector.config.rule].columns
    missing = [name for name in needed if name not in rows[0].scores]
    if missing:
        raise UserError(
            f"select.rule={config.rule} needs the column {missing[0]}, which {selector.where} does not have; "
            f"add it in a new folder: emnat score --workdir=... --model=... --data={selector.where} "
            f"--column={missing[0]} --output=..."
        )
    width = max(len(row.targets) for row in rows)

    def column(name: str, filler: float = NEG_INF) -> np.ndarray:
        return padded([row.scores.get(name, []) for row in rows], width, filler)

    filled = np.arange(width) < np.array([len(row.targets) for row in rows])[:, None]
    is_reference = column(REFERENCE, 0.0) == 1
    if config.include_reference and REFERENCE not in rows[0].scores:
        raise UserError(
            f"select.include_reference=True: {selector.where} has no references among its candidates; make "
            "the set with emnat distill --include-reference, or set --config.select.include_reference=False."
        )
    lengths = padded([[len(target) for target in row.targets] for row in rows], width, 1.0).astype(int)
    quality = _qualities(rows, selector) if config.needs_quality else None
    return Scores(
        student_log_prob=column("student_log_prob"),
        teacher0_log_prob=column("teacher0_log_prob"),
        keep=filled & (config.include_reference | ~is_reference),
        lengths=lengths if config.normalise_length else None,
        quality=None if quality is None else padded(quality, width, 0.0),
        columns={name: column(name) for name in needed},
    )


def _qualities(rows: Sequence[Row], selector: Selector) -> list[list[float]]:
    """Of every candidate of each row, against the row's reference."""
    vocabulary, quality = selector.vocabulary, _quality(selector)
    assert vocabulary is not None, "a rule that compares candidates with references needs a vocabulary"
    return [
        quality(row.source_text, [vocabulary.decode(target) for target in row.targets], row.target_text)
        for row in rows
    ]


def _quality(selector: Selector) -> Callable[[str, Sequence[str], str], list[float]]:
    """What compares candidates: the rule's own measure, checked, or select.quality, which needs no source."""
    rule, by_score = selector.config.rule, sentence_quality(selector.config.quality, selector.scoring)
    of_rule = RULES[rule].quality
    if of_rule is None:
        return lambda source, texts, reference: by_score(texts, reference)

    def checked(source: str, texts: Sequence[str], reference: str) -> list[float]:
        values = [float(value) for value in of_rule(source, texts, reference)]
        if len(values) != len(texts) or not np.isfinite(values).all():
            raise ValueError(f"select.rule={rule}: its quality gave {values} for {len(texts)} candidates")
        return values

    return checked


def _only(row: Row, ranks: list[int]) -> Row:
    """The row with the candidates of these ranks alone, and the column `rank`."""
    scores = {name: column[ranks] for name, column in row.scores.items()}
    scores["rank"] = np.array(ranks, np.float32)
    return dataclasses.replace(row, targets=[row.targets[rank] for rank in ranks], scores=scores)


def _weighted(row: Row, weights: np.ndarray) -> Row:
    """The row with the candidates that weigh enough, best ranked first, and their weights, summing to 1."""
    ranks = [int(rank) for rank in np.flatnonzero(weights >= SMALLEST * weights.max())]
    chosen = _only(row, ranks)
    chosen.scores["weight"] = (weights[ranks] / weights[ranks].sum()).astype(np.float32)
    return chosen
