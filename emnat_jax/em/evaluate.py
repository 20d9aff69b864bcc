"""The evaluation of a round: quality of its systems, multi-modality of the student's targets, samples."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.atomic import write_lines
from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.artifacts.manifest import file_sha256, load_manifest
from emnat_jax.artifacts.records import Row
from emnat_jax.config import ROLES, TASKS, Config, Scoring
from emnat_jax.data.corpora import find_file
from emnat_jax.data.encode import encode_lines
from emnat_jax.data.pairs import Pairs, make_pairs
from emnat_jax.data.text import read_multi_references
from emnat_jax.em.context import Context
from emnat_jax.em.cut import find_cut
from emnat_jax.em.ncm import learned_pairs, measure_multimodality, outputs_as_targets
from emnat_jax.em.results import MULTI, write_evaluation
from emnat_jax.em.samples import make_samples
from emnat_jax.evaluation.bleu import References, quality
from emnat_jax.evaluation.lengths import sample_over_lengths
from emnat_jax.evaluation.scripts import better_tokenizer
from emnat_jax.inference.alternatives import Alternatives
from emnat_jax.inference.candidates import Candidates
from emnat_jax.inference.model import TrainedModel
from emnat_jax.inference.sentences import best_text, sentence_pairs
from emnat_jax.report.cut import describe_cut
from emnat_jax.report.record import (
    Cut,
    Multimodality,
    MultimodalityBySplit,
    RecordedEvaluation,
    Sample,
    Scores,
    SystemScores,
)
from emnat_jax.types import EOS

Decoded = dict[tuple[str, str], list[Candidates]]  # by system and split


@dataclasses.dataclass(frozen=True)
class EvaluationOptions:
    """What decides the evaluation of a round, beside models and texts."""

    ncm_rows: int  # rows that the student learned from, for NCM
    rescored_candidates: int  # student hypotheses that the first teacher chooses from; 0: do not
    task: str  # data.kind
    task_options: Any  # of the task, where it has any
    buckets: tuple[int, ...]  # tokens
    splits: tuple[str, ...]  # that are translated; the last one is reported: test, where there is one
    with_multi: bool  # whether there are sentences with several references
    ncm_of_references: bool  # on the valid split; else of the teacher's translations
    scoring: Scoring

    @classmethod
    def of(cls, config: Config) -> "EvaluationOptions":
        """Those of a configuration."""
        data = config.data
        return cls(
            ncm_rows=config.evaluation.ncm_rows,
            rescored_candidates=config.evaluation.rescored_candidates,
            task=data.kind,
            task_options=data.task_options,
            buckets=data.buckets,
            splits=data.splits[1:],
            with_multi=data.test_multi is not None,
            ncm_of_references=config.em.student_data == "raw",
            scoring=config.scoring,
        )


class RoundModels(NamedTuple):
    """The folders of the models that an evaluation asks."""

    teacher: epath.PathLike
    student: epath.PathLike
    teacher0: epath.PathLike  # round 0's, which rescores
    control: epath.PathLike | None = None  # a student without E-steps


class StudentData(NamedTuple):
    """What the student of a round learned from."""

    folder: epath.PathLike  # of the set
    targets: int = 1  # of each row, between which it chooses


class Texts(NamedTuple):
    """What a round translates, by split; without rows and pairs where they are another process's."""

    rows: dict[str, list[Row]]  # of the splits
    references: dict[str, References]
    pairs: dict[str, Pairs]
    cut: tuple[Cut, ...]


class _Found(NamedTuple):
    """What the models of a round made of its texts."""

    decoded: Decoded
    ncm: dict[str, Multimodality | None]  # by split
    alternatives: dict[int, Alternatives]  # by row of the reported split
    made_from: dict[str, str]  # content hash of each model and set


def evaluate_round(
    context: Context,
    options: EvaluationOptions,
    index: int,
    folders: RoundModels,
    student_data: StudentData,
) -> None:
    """Writes rounds/N/outputs and rounds/N/eval.json.

    All processes decode and score together; the first has the sentences, and writes.
    """
    named = {name: path for name, path in folders._asdict().items() if path is not None}
    loaded = {path: context.load_model(path, options.buckets) for path in dict.fromkeys(named.values())}
    models = {name: loaded[path] for name, path in named.items()}
    has_part = context.workers.part.index == 0
    texts = read_texts(context, options, has_part=has_part)
    decoded = {
        (name, split): decode(pairs)
        for name, decode in _decoders(models, options.rescored_candidates).items()
        for split, pairs in texts.pairs.items()
    }
    learned = learned_pairs(
        student_data.folder,
        options.ncm_rows if has_part else 0,
        models["student"],
        targets=student_data.targets,
    )
    held_out = held_out_pairs(texts, decoded["teacher", "valid"], options)
    ncm = {
        "train": measure_multimodality(models, learned),
        "valid": measure_multimodality(models, held_out),
    }
    shown = options.splits[-1]
    places = sample_over_lengths(_targets(texts.rows[shown]), context.settings.samples, options.scoring)
    chosen = _outputs_at(texts.rows[shown], decoded["student", shown], places)
    alternatives = dict(zip(places, models["student"].alternatives_of(chosen), strict=True))
    found = _Found(
        decoded, ncm, alternatives, made_from(context.directory, folders, student_data, options.splits)
    )
    context.processes.broadcast(
        paths.evaluation(index), lambda: _write(context, options, index, texts, found)
    )


def made_from(
    directory: epath.Path, folders: RoundModels, student_data: StudentData, splits: Sequence[str]
) -> dict[str, str]:
    """The content hashes of the models and sets that an evaluation is of."""
    sets = {split: directory / paths.split(split) for split in splits} | {"data": student_data.folder}
    named = {**folders._asdict(), **sets}
    return {
        name: load_manifest(path, verify_shards=False).content_hash
        for name, path in named.items()
        if path is not None
    }


def read_texts(context: Context, options: EvaluationOptions, *, has_part: bool) -> Texts:
    """The splits, and the sentences with several references."""
    rows = {
        split: list(read_dataset(context.directory / paths.split(split))) if has_part else []
        for split in options.splits
    }
    references: dict[str, References] = {split: [_targets(rows[split])] for split in options.splits}
    pairs = {split: make_pairs(iter(rows[split])) for split in options.splits}
    lines = {
        split: [(row.row, row.source_text, row.source) for row in rows[split]] for split in options.splits
    }
    if options.with_multi:
        sources, references[MULTI] = read_multi_references(
            find_file(context.settings.in_place(), "test_multi")
        )
        sources = sources if has_part else []
        tokens = encode_lines(sources, context.vocabulary, options.buckets[-1])
        pairs[MULTI] = sentence_pairs(tokens)
        lines[MULTI] = list(zip(range(len(sources)), sources, tokens, strict=True))
    cut = [find_cut(split, found, context.vocabulary, options.buckets[-1]) for split, found in lines.items()]
    return Texts(rows, references, pairs, tuple(found for found in cut if found is not None))


def _targets(rows: Sequence[Row]) -> list[str]:
    return [row.target_text for row in rows]


def _decoders(
    models: Mapping[str, TrainedModel], rescored_candidates: int
) -> dict[str, Callable[[Pairs], list[Candidates]]]:
    """The systems that a round reports, by name; the first teacher rescores (docs/method.md, 10.5)."""
    single = [name for name in (*ROLES, "control") if name in models]
    decoders: dict[str, Callable[[Pairs], list[Candidates]]] = {name: models[name].decode for name in single}
    if rescored_candidates:
        rescored = models["student"].rescored_by(models["teacher0"], rescored_candidates)
        decoders["student_rescored"] = rescored.decode
    return decoders


def held_out_pairs(texts: Texts, translated: Sequence[Candidates], options: EvaluationOptions) -> Pairs:
    """The valid split with targets like those that the student learns: teacher's outputs, or references."""
    if options.ncm_of_references:
        return texts.pairs["valid"]
    return outputs_as_targets(texts.rows["valid"], translated)


def _outputs_at(rows: Sequence[Row], decoded: Sequence[Candidates], places: Sequence[int]) -> Pairs:
    """Sources with the model's own outputs as targets; an empty sentence for one that has none."""
    outputs = [decoded[i].tokens[0] if decoded[i].tokens else np.array([EOS], np.int32) for i in places]
    return sentence_pairs([rows[i].source for i in places], outputs)


def _write(context: Context, options: EvaluationOptions, index: int, texts: Texts, found: _Found) -> None:
    """The outputs, and what they are worth."""
    for remark in _remarks(paths.evaluation(index), texts, options):
        context.log(remark)
    outputs = {
        key: [best_text(candidates, context.vocabulary) for candidates in decoded]
        for key, decoded in found.decoded.items()
    }
    systems, written = keep_outputs(context.directory / paths.outputs(index), options, texts, outputs)
    train, valid = found.ncm["train"], found.ncm["valid"]
    assert train is not None and valid is not None  # this process has the sentences
    evaluation = RecordedEvaluation(
        round=index,
        **systems,
        ncm=MultimodalityBySplit(train, valid),
        samples=_samples(context, options, texts, outputs, found),
        cut=texts.cut,
        made_from=found.made_from,
        outputs=written,
    )
    write_evaluation(context.directory, evaluation)


def keep_outputs(
    folder: epath.Path,
    options: EvaluationOptions,
    texts: Texts,
    outputs: Mapping[tuple[str, str], list[str]],
) -> tuple[dict[str, SystemScores], dict[str, str]]:
    """Writes the lines of each (system, split) into `folder`: (scores of systems, sha256 of files)."""
    written: dict[str, str] = {}
    scores: dict[str, dict[str, Scores]] = {}
    for (name, split), lines in outputs.items():
        path = folder / paths.output_name(split, name)
        write_lines(path, lines)
        written[path.name] = file_sha256(path)
        shown = scores.setdefault(name, {})
        shown[split] = score_lines(lines, texts.references[split], texts.rows.get(split), options)
    return {name: SystemScores(**by_split) for name, by_split in scores.items()}, written


def _samples(
    context: Context,
    options: EvaluationOptions,
    texts: Texts,
    outputs: Mapping[tuple[str, str], list[str]],
    found: _Found,
) -> tuple[Sample, ...]:
    split, pieces = options.splits[-1], context.vocabulary.pieces()
    return make_samples(texts.rows[split], outputs, found.alternatives, pieces, split, options.scoring)


def _remarks(path: str, texts: Texts, options: EvaluationOptions) -> Iterator[str]:
    """What makes the scores smaller than they would be; a line each."""
    scoring, split = options.scoring, options.splits[-1]
    for cut in texts.cut:
        yield f"{path}: {describe_cut(cut)}"
    if better := better_tokenizer(texts.references[split][0], scoring):
        yield (
            f"{path}: the references are written without spaces, so that BLEU with tokenizer "
            f"{scoring.tokenizer} counts whole lines as words; delete {path} and go on with "
            f"evaluation.tokenizer={better}."
        )


def score_lines(
    lines: Sequence[str], references: References, rows: Sequence[Row] | None, options: EvaluationOptions
) -> Scores:
    """Scores of outputs against raw references; with `rows` also the share of valid ones."""
    share = share_valid(lines, rows, options) if rows is not None else None
    return Scores(**vars(quality(lines, references, options.scoring)), share_valid=share)


def share_valid(lines: Sequence[str], rows: Sequence[Row], options: EvaluationOptions) -> float | None:
    """The share of outputs that the task's checker accepts; None for a task that has none."""
    check = TASKS[options.task].share_valid
    return None if check is None else check([row.source_text for row in rows], lines, options.task_options)
