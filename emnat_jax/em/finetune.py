"""What the training after the last round is worth: the student before and after it, and its control."""

import functools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.manifest import load_manifest
from emnat_jax.em.context import Context
from emnat_jax.em.evaluate import Decoded, EvaluationOptions, Texts, keep_outputs, read_texts
from emnat_jax.em.results import outputs_in, read_finetuned, trained_scores, write_finetuned
from emnat_jax.em.workdir import Workspace
from emnat_jax.evaluation.bleu import References, paired_significance
from emnat_jax.inference.sentences import best_text
from emnat_jax.report.record import Effect, FinetuneEvaluation, FinetuneReport


class FinetunedModels(NamedTuple):
    """The folders of the models that are compared."""

    student: epath.Path  # of the last round
    finetuned: epath.Path
    control: epath.Path | None = None  # as many steps of the student's own objective


def evaluate_finetuned(
    context: Context, options: EvaluationOptions, index: int, folders: FinetunedModels
) -> None:
    """Writes finetune/outputs and finetune/eval.json. All processes decode; the first writes."""
    named = {name: path for name, path in folders._asdict().items() if path is not None}
    models = {name: context.load_model(path, options.buckets) for name, path in named.items()}
    texts = read_texts(context, options, has_part=context.workers.part.index == 0)
    decoded = {
        (name, split): model.decode(pairs)
        for name, model in models.items()
        for split, pairs in texts.pairs.items()
    }
    made_from = {name: load_manifest(path, verify_shards=False).content_hash for name, path in named.items()}
    write = functools.partial(_write, context, options, index, texts, decoded, made_from=made_from)
    context.processes.broadcast(paths.FINETUNE_EVALUATION, write)


def _write(
    context: Context,
    options: EvaluationOptions,
    index: int,
    texts: Texts,
    decoded: Decoded,
    *,
    made_from: dict[str, str],
) -> None:
    """The outputs, and what they are worth."""
    outputs = {
        key: [best_text(found, context.vocabulary) for found in candidates]
        for key, candidates in decoded.items()
    }
    systems, written = keep_outputs(context.directory / paths.FINETUNE_OUTPUTS, options, texts, outputs)
    found = FinetuneEvaluation(round=index, **systems, made_from=made_from, outputs=written)
    write_finetuned(context.directory, found)


def finetune_report(work: Workspace, references: Mapping[str, References]) -> FinetuneReport | None:
    """The evaluation with the trainings, and whether they changed anything; None where there is none."""
    directory, asked = work.directory, work.config.em.finetune
    if asked.steps is None or not (directory / paths.FINETUNE_EVALUATION).exists():
        return None
    found = read_finetuned(directory)
    control = directory / paths.finetuned("control")
    values = vars(found) | {
        "finetuned": trained_scores(directory / paths.finetuned("student"), found.finetuned),
        "control": None if found.control is None else trained_scores(control, found.control),
    }
    effects = tuple(_effects(work, found, references))
    return FinetuneReport(**values, objective=asked.objective, effects=effects)


def _effects(
    work: Workspace, found: FinetuneEvaluation, references: Mapping[str, References]
) -> Iterator[Effect]:
    """BLEU over the control and over the student before, with paired bootstrap, by split."""
    others = ("student",) if found.control is None else ("control", "student")
    folder = work.directory / paths.FINETUNE_OUTPUTS
    for split, lines in references.items():
        outputs = outputs_in(folder, split, ("finetuned", *others), found.outputs)
        for over in others:
            after, before = outputs["finetuned"], outputs[over]
            pair = paired_significance(after, before, lines, work.config.scoring, names=("BLEU",))["BLEU"]
            figures = pair.baseline, pair.system, pair.p_value, pair.signature
            yield Effect("finetuned", split, found.round, over, *figures)
