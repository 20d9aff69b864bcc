"""Train one model of a workdir on one data set: what the stage and `emnat train` do."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import NamedTuple

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.as_json import as_json
from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.artifacts.manifest import SETS, Manifest, is_finished, load_manifest
from emnat_jax.artifacts.records import overlay
from emnat_jax.artifacts.sealed import digest
from emnat_jax.config import ModelSpec
from emnat_jax.config.convert import to_dict
from emnat_jax.data.batches import BatchStream, sequential_batches
from emnat_jax.data.folds import without
from emnat_jax.data.pairs import Pairs, load_pairs, make_groups, make_pairs
from emnat_jax.em.context import Context
from emnat_jax.em.stages.begun import begin
from emnat_jax.em.train_options import TrainOptions
from emnat_jax.em.tune_length import tune_length
from emnat_jax.em.valid_score import make_valid_score
from emnat_jax.errors import require
from emnat_jax.families import Family, parallel_parts, training_family
from emnat_jax.families.in_loss import decodes_once
from emnat_jax.families.parameters import encoder_params
from emnat_jax.inference.model import CompiledModel, TrainedModel
from emnat_jax.models.flops import training_flops
from emnat_jax.runtime.mesh import Layout, local_rows, require_rows_divide, row_shares
from emnat_jax.runtime.progress import Log
from emnat_jax.training.loop import TrainingRun, fit
from emnat_jax.training.manifest import finish_model
from emnat_jax.types import Batch, Params

Sets = dict[str, tuple[epath.PathLike, Manifest]]  # name -> folder and manifest


class Sources(NamedTuple):
    """What a training reads."""

    data: epath.PathLike
    # Where the rows that `data` does not have come from.
    base: epath.PathLike | None = None
    # A finished model whose weights a fresh run begins with; of another family its embeddings and encoder.
    start: epath.PathLike | None = None
    # A finished model whose translations of the valid split train.best_by=distilled_loss looks at.
    teacher: epath.PathLike | None = None
    mono: epath.PathLike | None = None  # translations of sources that neither of the two has


def train_model(
    context: Context,
    options: TrainOptions,
    sources: Sources,
    output: epath.PathLike,
    *,
    label: str,
    remedy: str = TrainingRun.remedy,
) -> Manifest:
    """Trains a model on the first target (or targets) of each row, or goes on where a run stopped.

    `label` and `remedy` (for a loss that is not finite) are for messages.
    UserError where another training has finished in `output`, or has begun there and the context does not
    start over, and where the shapes of `sources.start` differ from those of the model.
    """
    output, broadcast = epath.Path(output), context.processes.broadcast
    sets = _load_sets(context, sources)
    fingerprints = {"vocabulary": context.vocabulary.fingerprint}
    fingerprints |= {name: manifest.content_hash for name, (_, manifest) in sets.items()}
    others = _Models(
        *(
            None if path is None else context.load_model(path, options.buckets)
            for path in (sources.start, sources.teacher)
        )
    )
    fingerprints |= {name: model.fingerprint for name, model in others._asdict().items() if model}
    # Content hashes leave scores out, which the weights of targets come from.
    shards = {name: [shard["sha256"] for shard in manifest.shards] for name, (_, manifest) in sets.items()}
    made_from = to_dict(options) | {"fingerprints": fingerprints, "shards": shards}
    begun = functools.partial(begin, output, made_from, context.log, starts_over=context.starts_over)
    if broadcast(f"{label}: begin", begun):
        context.log(f"{label}: finished before")
        return load_manifest(output)
    pairs = _training_pairs(options, sets, lambda text: context.log(f"{label}: {text}"))
    run = _run_of(context, options, pairs, others, output, label)
    result = fit(dataclasses.replace(run, remedy=remedy, made_from=digest(as_json(made_from))))
    finish = functools.partial(
        finish_model,
        output,
        result,
        tuned_length=tune_length(context, options, result.params, label),
        model=options.resolved(context.vocabulary.size),
        train=run.config,
        rows=pairs.size // options.targets,
        fingerprints=fingerprints,
        seed=options.seed,
    )
    broadcast(f"{label}: manifest", finish)
    return load_manifest(output)


class _Models(NamedTuple):
    """Finished models that a training asks."""

    start: TrainedModel | None = None
    teacher: TrainedModel | None = None


def _run_of(
    context: Context,
    options: TrainOptions,
    pairs: Pairs,
    others: _Models,
    output: epath.Path,
    label: str,
) -> TrainingRun:
    """The training as the loop takes it."""
    model, targets = options.resolved(context.vocabulary.size), options.targets
    train = context.settings.intervals[options.role].into(options.train)
    functions = context.compiled(model, options.buckets)
    stream = make_stream(context.layout, pairs, options)
    if stream.skipped:
        context.log(
            f"{label}: {stream.skipped} rows are longer than the last of data.buckets and are not learned "
            "from"
        )
    return TrainingRun(
        family=_family(functions, train.objective, targets),
        stream=stream,
        config=train,
        layout=context.layout,
        seed=options.seed,
        directory=output,
        valid_batches=_valid_batches(context, options),
        valid_score=make_valid_score(context, options.scoring, train, functions, others.teacher),
        initial_params=_taken_over(others.start, model) if others.start else None,
        flops=_flops_of(model, targets),
        processes=context.processes,
        log=context.log,
        name=label,
        option_group=f"{options.role}_train",
    )


def _family(functions: CompiledModel, objective: str, targets: int) -> Family:
    """That of the model, whose evaluation is compiled, with the loss that the training minimises."""
    plain = objective == "likelihood" and targets == 1
    return functions.family if plain else training_family(functions.model, objective, targets)


def _load_sets(context: Context, sources: Sources) -> Sets:
    """The sets that a training reads; UserError for one of another vocabulary, and for a damaged one."""
    named = {"source": sources.data, "base": sources.base, "mono": sources.mono}
    folders = {name: folder for name, folder in named.items() if folder}
    made_of = {"vocabulary": context.vocabulary.fingerprint}
    sets = {
        name: (folder, load_manifest(folder, expect=made_of, kinds=SETS)) for name, folder in folders.items()
    }
    for folder, manifest in sets.values():
        require(
            manifest.kind != "mono",
            f"{folder} has sources without translations; make some: emnat distill --data={folder}.",
        )
    return sets


def _training_pairs(options: TrainOptions, sets: Sets, log: Log) -> Pairs:
    """The rows of `source`, and of `base` and `mono` those that it does not have; without `left_out`."""
    of_set = {name: read_dataset(folder, manifest) for name, (folder, manifest) in sets.items()}
    others = [of_set.pop("mono")] if "mono" in of_set else []
    rows = overlay(*of_set.values())
    if options.left_out is not None:
        rows = without(rows, options.left_out, log)
    rows = overlay(rows, *others)
    if options.targets > 1:
        return make_groups(rows, options.targets, options.prior_beta)
    return make_pairs(rows)


def make_stream(layout: Layout, pairs: Pairs, options: TrainOptions) -> BatchStream:
    """Endless batches of this process's rows. UserError where they cannot be shared out over the devices."""
    accumulate = options.train.accumulate
    require_rows_divide(layout, options.row_multiple, accumulate)
    local = functools.partial(local_rows, layout, accumulate=accumulate)
    return BatchStream(
        pairs, options.data, seed=options.seed, local=local, targets_per_source=options.targets
    )


def _taken_over(start: TrainedModel, model: ModelSpec) -> Params:
    """The weights that a run on `model` begins with, out of those of a finished one."""
    return start.params if start.config.family == model.family else encoder_params(start.params)


def _valid_batches(context: Context, options: TrainOptions) -> Callable[[], Iterable[Batch]] | None:
    """The valid split in order, or None where the workdir has none."""
    directory = context.directory / paths.split("valid")
    if not is_finished(directory):
        return None
    pairs, layout = load_pairs(directory), context.layout
    functions = context.compiled(options.resolved(context.vocabulary.size), options.buckets)
    each, local = functions.loss_rows(), functools.partial(local_rows, layout)

    def rows(width: int) -> int:
        return each(width) * row_shares(layout)

    return lambda: sequential_batches(pairs, options.buckets, rows, local=local)


def _flops_of(model: ModelSpec, targets: int) -> Callable[[Batch], float]:
    """The operations of a training step on a batch whose rows are groups of so many targets of a source."""
    parts = parallel_parts(model)
    shared = targets > 1 and parts is not None and decodes_once(parts)

    def flops(batch: Batch) -> float:
        rows, width = batch.target.shape
        source = batch.source.shape[1]
        return training_flops(model, rows, source, width, targets_per_source=targets, decodes_once=shared)

    return flops
