"""Train one model of a workdir on one data set: what the stage and `emnat train` do."""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.manifest import MODEL, SETS, Manifest, is_finished, load_manifest
from emnat_jax.config import ModelSpec
from emnat_jax.config.convert import to_dict
from emnat_jax.data.batches import BatchStream, Source, sequential_batches
from emnat_jax.data.examples import Examples, Learned, Targets, open_examples
from emnat_jax.data.pairs import load_pairs
from emnat_jax.data.read_ahead import ReadAhead
from emnat_jax.data.stored_sets import StoredSet, verify_sets
from emnat_jax.em.context import Context
from emnat_jax.em.stages.begun import begin, identity
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
from emnat_jax.runtime.processes import Processes
from emnat_jax.runtime.progress import Log
from emnat_jax.training.loop import fit
from emnat_jax.training.manifest import finish_model, weights_of
from emnat_jax.training.run import Position, TrainingRun
from emnat_jax.types import Batch, Params

Sets = dict[str, StoredSet]


class Sources(NamedTuple):
    """What a training reads."""

    data: epath.PathLike
    # Where the rows that `data` does not have come from.
    base: epath.PathLike | None = None
    # A finished model whose weights a fresh run begins with; of another family its embeddings and encoder.
    # Where the options say that the run continues, also with its optimiser's state.
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
    fingerprints |= {name: manifest.content_hash for name, (_, manifest, _) in sets.items()}
    others = _Models(
        *(
            None if path is None else context.load_model(path, options.buckets)
            for path in (sources.start, sources.teacher)
        )
    )
    fingerprints |= {name: model.fingerprint for name, model in others._asdict().items() if model}
    # Content hashes leave scores out, which the weights of targets come from.
    shards = {name: [shard["sha256"] for shard in manifest.shards] for name, (_, manifest, _) in sets.items()}
    made_from = to_dict(options) | {"fingerprints": fingerprints, "shards": shards}
    begun = functools.partial(begin, output, made_from, context.log, starts_over=context.starts_over)
    if broadcast(f"{label}: begin", begun):
        context.log(f"{label}: finished before")
        return load_manifest(output)
    continues = _end_of(sources.start) if options.continues else None
    with _open_stream(context, options, sets, label) as stream:
        run = _run_of(context, options, stream, others, output, label, continues=continues)
        result = fit(dataclasses.replace(run, remedy=remedy, made_from=identity(output)))
    finish = functools.partial(
        finish_model,
        output,
        result,
        tuned_length=tune_length(context, options, result.params, label),
        model=options.resolved(context.vocabulary.size),
        train=run.config,
        rows=stream.examples,
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
    stream: ReadAhead,
    others: _Models,
    output: epath.Path,
    label: str,
    *,
    continues: Position | None = None,
) -> TrainingRun:
    """The training as the loop takes it."""
    model, targets = options.resolved(context.vocabulary.size), options.targets
    train = context.settings.intervals[options.role].into(options.train)
    functions = context.compiled(model, options.buckets)
    return TrainingRun(
        family=_family(functions, train.objective, targets),
        stream=stream,
        config=train,
        layout=context.layout,
        seed=options.seed,
        directory=output,
        valid_batches=_valid_batches(context, options),
        valid_score=make_valid_score(context, options.scoring, train, functions, others.teacher),
        initial_params=_taken_over(others.start, model) if others.start and not continues else None,
        continues=continues,
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
        name: StoredSet(
            epath.Path(folder), load_manifest(folder, verify_shards=False, expect=made_of, kinds=SETS)
        )
        for name, folder in folders.items()
    }
    sets = dict(zip(sets, verify_sets(list(sets.values()), context.processes), strict=True))
    for folder, manifest, _ in sets.values():
        require(
            manifest.kind != "mono",
            f"{folder} has sources without translations; make some: emnat distill --data={folder}.",
        )
    return sets


@contextlib.contextmanager
def _open_stream(context: Context, options: TrainOptions, sets: Sets, label: str) -> Iterator[ReadAhead]:
    """The batches of a training while the block runs; what is not in them is logged."""

    def log(text: str) -> None:
        context.log(f"{label}: {text}")

    with _open_examples(options, sets, context.processes, log) as examples:
        stream = make_stream(context.layout, examples, options, context.vocabulary.size)
        if stream.skipped:
            log(f"{stream.skipped} rows are longer than the last of data.buckets and are not learned from")
        with contextlib.closing(ReadAhead(stream)) as reader:
            yield reader


def _open_examples(
    options: TrainOptions, sets: Sets, processes: Processes, log: Log
) -> contextlib.AbstractContextManager[Examples]:
    """The rows of `source`, and of `base` and `mono` those that it does not have; without `left_out`."""
    mono = [sets["mono"]] if "mono" in sets else []
    learned = Learned([one for name, one in sets.items() if name != "mono"], mono, options.left_out)
    targets = Targets(options.targets, options.prior_beta)
    return open_examples(learned, targets, processes, log)


def make_stream(
    layout: Layout, examples: Source, options: TrainOptions, vocabulary: int | None = None
) -> BatchStream:
    """Endless batches of this process's rows. UserError where they cannot be shared out over the devices.

    `vocabulary` is its size, where rows with other tokens are to be refused.
    """
    accumulate = options.train.accumulate
    require_rows_divide(layout, options.row_multiple, accumulate)
    local = functools.partial(local_rows, layout, accumulate=accumulate)
    return BatchStream(examples, options.data, seed=options.seed, local=local, vocabulary=vocabulary)


def _taken_over(start: TrainedModel, model: ModelSpec) -> Params:
    """The weights that a run on `model` begins with, out of those of a finished one."""
    return start.params if start.config.family == model.family else encoder_params(start.params)


def _end_of(start: epath.PathLike | None) -> Position:
    """Where a training that continues finds the state to go on with."""
    assert start is not None  # the plan has no such stage without
    return Position(start, weights_of(load_manifest(start, kinds=(MODEL,))).steps[-1])


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
        *rows, width = batch.target.shape
        sizes = math.prod(rows), batch.source.shape[-1], width
        return training_flops(model, *sizes, targets_per_source=targets, decodes_once=shared)

    return flops
