"""Distillation: the N best translations of every source of a data set, with their scores, shard by shard."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from emnat_jax.artifacts.dataset import Provenance, read_part
from emnat_jax.artifacts.manifest import SETS, Manifest
from emnat_jax.artifacts.records import REFERENCE, Row
from emnat_jax.artifacts.shards import UnfinishedSet
from emnat_jax.data.folds import Fold
from emnat_jax.data.pairs import make_pairs
from emnat_jax.data.shard_workers import Conclusion, ShardWorkers, derive_dataset
from emnat_jax.data.stored_sets import load_verified
from emnat_jax.data.vocab import Vocabulary
from emnat_jax.errors import require
from emnat_jax.inference.candidates import Candidates
from emnat_jax.inference.model import TrainedModel
from emnat_jax.inference.proposer import Proposer
from emnat_jax.inference.translator import Translator
from emnat_jax.types import EOS, NEG_INF


def distill(
    proposers: Sequence[Translator],
    source: epath.PathLike,
    output: epath.PathLike,
    *,
    num_candidates: int,
    vocabulary: Vocabulary,
    samples: int = 0,
    temperature: float = 1.0,
    include_reference: bool = False,
    extends: bool = False,
    scorers: Mapping[str, TrainedModel] | None = None,
    first_rows: int | None = None,
    seed: int = 0,
    workers: ShardWorkers = ShardWorkers(),
) -> Manifest:
    """Makes a `distilled` (one candidate) or `candidates` set from the sources of a data set.

    proposers: each gives its `num_candidates` best, without what an earlier one gave. The scores of a single
      proposer become the column teacher_log_prob or, of a student, student_log_prob; with several, the column
      `proposer` says which one it was (from 0). There is no column of a proposer without scores.
    samples: the first proposer gives this many draws after its best (Translator.sampling).
    include_reference: the corpus' own target becomes the last candidate, marked in the column from_reference,
      unless one of the others reads like it.
    extends: the source set holds lists, which come first, as of one more proposer before the others.
    scorers: column -> model whose scores of all candidates it holds.
    first_rows: lines of the corpus from this number on are left out.

    One output shard per source shard, each made by one process; finished ones are kept on a rerun.
    """
    source, output, scorers = epath.Path(source), epath.Path(output), scorers or {}
    read = _load(source, vocabulary, workers, proposers)
    asked = [Proposer(model, num_candidates) for model in proposers]
    asked[0] = asked[0].with_samples(samples, temperature, seed)
    single = num_candidates == len(proposers) == 1 and not (samples or include_reference or extends)
    fingerprints = {"vocabulary": vocabulary.fingerprint, "source": read.content_hash}
    fingerprints |= {column: model.fingerprint for column, model in scorers.items()}
    options: dict[str, Any] = {"num_candidates": num_candidates, "first_rows": first_rows}
    options |= {"include_reference": include_reference, "extends": extends}
    fingerprints |= {_numbered("model", index): one.model.fingerprint for index, one in enumerate(asked)}
    options |= {_numbered("decoding", index): one.options() for index, one in enumerate(asked)}
    provenance = Provenance("distilled" if single else "candidates", fingerprints, options, seed)

    def make_rows(rows: list[Row]) -> list[Row]:
        made = _propose(asked, rows, vocabulary, extends)
        made = with_references(made, vocabulary) if include_reference else made
        return add_scores([row for row in made if row.targets], scorers)

    of = _Source(source, read)
    return _derive(of, output, provenance, make_rows=make_rows, first_rows=first_rows, workers=workers)


def _load(
    source: epath.Path, vocabulary: Vocabulary, workers: ShardWorkers, proposers: Sequence[Translator] = ()
) -> Manifest:
    """The manifest of a set; UserError where it is damaged, or it or a proposer has another vocabulary."""
    for model in proposers:
        require(
            model.vocabulary.fingerprint == vocabulary.fingerprint,
            f"{model!r} has another vocabulary than {source}; take a model of the same workdir.",
        )
    expect = {"vocabulary": vocabulary.fingerprint}
    return load_verified(source, workers.processes, expect=expect, kinds=SETS)


def add_score_columns(
    source: epath.PathLike,
    output: epath.PathLike,
    scorers: Mapping[str, TrainedModel],
    *,
    of_folds: Mapping[str, Sequence[TrainedModel]] = {},
    copies: Mapping[str, str] = {},
    references: Mapping[str, TrainedModel] | None = None,
    vocabulary: Vocabulary,
    workers: ShardWorkers = ShardWorkers(),
) -> Manifest:
    """A copy of a distilled, candidates or selected set with one more column for each of `scorers`.

    `of_folds` gives a column several models, each of which scores the rows of its fold (`data/folds.py`).
    `copies` (new column -> present one) repeats a column under another name: the scores that the model which
    proposed the targets gave them. With `references` the reference becomes the last candidate, as in
    `distill`; it names the model of each copied column, which scores the references alone.
    """
    source, output = epath.Path(source), epath.Path(output)
    read = _load(source, vocabulary, workers)
    fingerprints = dict(read.fingerprints) | {column: model.fingerprint for column, model in scorers.items()}
    for column, models in of_folds.items():
        fingerprints |= {f"{column}_fold_{fold}": model.fingerprint for fold, model in enumerate(models)}
    if copies:  # else the set may be one that no model made
        fingerprints |= dict.fromkeys(copies, read.fingerprints["model"])
    kind, options = read.kind, read.options
    if references is not None:
        kind, options = "candidates", {**options, "include_reference": True}

    def make_rows(rows: list[Row]) -> list[Row]:
        rows = rows if references is None else with_references(rows, vocabulary)
        scored = add_scores(rows, scorers)
        for column, models in of_folds.items():
            scored = add_fold_scores(scored, column, models)
        copied = [_with_copies(row, copies) for row in scored]
        for column, model in (references or {}).items():
            copied = _with_reference_scores(copied, column, model)
        return copied

    provenance = Provenance(kind, fingerprints, options, read.seed)
    return _derive(_Source(source, read), output, provenance, make_rows=make_rows, workers=workers)


def _with_copies(row: Row, copies: Mapping[str, str]) -> Row:
    scores = row.scores | {new: row.scores[old] for new, old in copies.items()}
    return dataclasses.replace(row, scores=scores)


class _Source(NamedTuple):
    """A finished data set."""

    directory: epath.Path
    manifest: Manifest


def _derive(
    source: _Source,
    output: epath.Path,
    provenance: Provenance,
    *,
    make_rows: Callable[[list[Row]], list[Row]],
    first_rows: int | None = None,
    workers: ShardWorkers,
) -> Manifest:
    """Makes every shard of `output` from that of `source`."""
    read = source.manifest

    def make_shard(unfinished: UnfinishedSet, name: str | None) -> dict[str, int]:
        rows = [] if name is None else list(read_part(source.directory, read, name))
        rows = [row for row in rows if first_rows is None or row.row < first_rows]
        finished = name is None or unfinished.made(name) is not None
        made = make_rows([] if finished else rows)  # also with none: the others' rows need all devices
        if name is not None and not finished and workers.part.writes:
            unfinished.write(name, made)
        return {"used": len(rows)}

    def conclude(rows: int, counts: Mapping[str, int | float]) -> Conclusion:
        used = int(counts["used"])
        return Conclusion({"left_out": read.rows_out - used, "no_candidate": used - rows}, {})

    return derive_dataset(read, output, provenance, make_shard=make_shard, conclude=conclude, workers=workers)


def _listed(row: Row) -> Candidates:
    """The candidates that a row of a list has, without a reference that no model proposed."""
    mark = row.scores.get(REFERENCE, np.zeros(len(row.targets)))
    tokens = [target for target, is_reference in zip(row.targets, mark, strict=True) if not is_reference]
    unknown = np.full(len(tokens), np.nan, np.float32)
    return Candidates(tokens, unknown, unknown)


def _propose(
    proposers: Sequence[Proposer], rows: list[Row], vocabulary: Vocabulary, extends: bool
) -> list[Row]:
    """Each row with the translations of all proposers as targets, after its list if it `extends` one."""
    sources = make_pairs(dataclasses.replace(row, scores={}) for row in rows)  # once, whatever its targets
    decoded = [proposer.decode(sources) for proposer in proposers]
    decoded = [[_listed(row) for row in rows], *decoded] if extends else decoded
    is_teacher = not proposers[0].model.config.options.is_parallel
    column = "teacher_log_prob" if is_teacher else "student_log_prob"
    return [
        _with_candidates(row, found, column, vocabulary) for row, *found in zip(rows, *decoded, strict=True)
    ]


def _numbered(name: str, index: int) -> str:
    """model, model_1, model_2, ..."""
    return f"{name}_{index}" if index else name


def _with_candidates(row: Row, found: Sequence[Candidates], column: str, vocabulary: Vocabulary) -> Row:
    """The row with the candidates of all proposers, without those that read like an earlier one.

    `column` names the scores of a single proposer.
    """
    first: dict[str, tuple[int, int]] = {}
    for proposer, candidates in enumerate(found):
        for index, tokens in enumerate(candidates.tokens):
            first.setdefault(vocabulary.decode(tokens), (proposer, index))
    targets = [found[proposer].tokens[index] for proposer, index in first.values()]
    if len(found) == 1:
        log_prob = [found[0].log_prob[index] for _, index in first.values()]
        scores = {} if np.isnan(log_prob).any() else {column: log_prob}
    else:
        scores = {"proposer": [proposer for proposer, _ in first.values()]}
    return dataclasses.replace(
        row, targets=targets, scores={name: np.array(x, np.float32) for name, x in scores.items()}
    )


def with_references(rows: Sequence[Row], vocabulary: Vocabulary) -> list[Row]:
    """The rows with the reference as last candidate, without a score, where no candidate reads like it.

    A source without a translation has no reference.
    """
    references = vocabulary.encode([row.target_text for row in rows])
    return [_with_reference(*pair, vocabulary) for pair in zip(rows, references, strict=True)]


def _with_reference(row: Row, pieces: np.ndarray, vocabulary: Vocabulary) -> Row:
    known = [vocabulary.decode(target) for target in row.targets]
    is_new = len(pieces) > 0 and vocabulary.decode(pieces) not in known
    added = [np.append(pieces, np.int32(EOS))] if is_new else []
    mark = np.array([0.0] * len(known) + [1.0] * len(added), np.float32)
    filler = np.full(len(added), NEG_INF, np.float32)
    scores = {name: np.append(column, filler) for name, column in row.scores.items()}
    return dataclasses.replace(row, targets=row.targets + added, scores={**scores, REFERENCE: mark})


def add_scores(rows: Sequence[Row], scorers: Mapping[str, TrainedModel]) -> list[Row]:
    """The rows with log p(target | source) of every target under each model."""
    columns = {name: model.score_lists(rows) for name, model in scorers.items()}
    return [
        dataclasses.replace(row, scores=row.scores | {name: lists[i] for name, lists in columns.items()})
        for i, row in enumerate(rows)
    ]


def _with_reference_scores(rows: Sequence[Row], column: str, model: TrainedModel) -> list[Row]:
    """The rows with the model's score of the reference in a column that has those of all other targets."""
    alone = [
        dataclasses.replace(row, targets=row.targets[-1:]) for row in rows if row.scores[REFERENCE].any()
    ]
    found = {row.row: scores for row, scores in zip(alone, model.score_lists(alone), strict=True)}

    def complete(row: Row) -> Row:
        last = found.get(row.row)
        if last is None:
            return row
        values = np.concatenate((row.scores[column][:-1], last))
        return dataclasses.replace(row, scores={**row.scores, column: values})

    return list(map(complete, rows))


def add_fold_scores(rows: Sequence[Row], column: str, models: Sequence[TrainedModel]) -> list[Row]:
    """The rows with log p of every target under the model of their fold.

    All processes score with every model, also where none of their rows are in its fold.
    """
    scored: list[Row] = []
    for index, model in enumerate(models):
        fold = Fold(index, len(models))
        scored += add_scores([row for row in rows if row in fold], {column: model})
    return sorted(scored, key=lambda row: row.row)
