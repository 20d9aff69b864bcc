"""Train one model of a workdir on one data set: the stage, and the body of `emnat train`."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.manifest import Manifest, is_finished, load_manifest, read_dataset
from emnat_jax.artifacts.records import overlay
from emnat_jax.config import ROLES, Config, DataConfig, EMConfig, ModelConfig, ModelSpec, TrainConfig
from emnat_jax.config.convert import to_dict
from emnat_jax.data.batches import BatchStream, sequential_batches
from emnat_jax.data.pairs import Pairs, load_pairs, make_groups, make_pairs
from emnat_jax.em.context import Context, Intervals, derived_seed
from emnat_jax.em.stages.base import Stage, maker_of
from emnat_jax.em.stages.begun import begin
from emnat_jax.em.stages.programs import Program, Target, loss_program, train_program
from emnat_jax.families import in_loss_family
from emnat_jax.families.parameters import encoder_params
from emnat_jax.inference.model import TrainedModel
from emnat_jax.models.flops import training_flops
from emnat_jax.runtime.mesh import Layout, local_rows, require_rows_divide, row_shares
from emnat_jax.training.loop import TrainingRun, fit
from emnat_jax.training.manifest import finish_model
from emnat_jax.types import Batch, Params

Sets = dict[str, tuple[epath.PathLike, Manifest]]  # name -> folder and manifest


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """What decides the weights, beside the data."""

    role: str
    model: ModelConfig
    train: TrainConfig  # intervals that do not matter have their defaults (`Intervals`)
    buckets: tuple[int, ...]
    batch_tokens: int
    row_multiple: int
    targets: int  # of each row; more than one: the E-step inside the loss
    prior_beta: float  # of those; 0 where there is one
    seed: int

    @property
    def data(self) -> DataConfig:
        """How rows are cut into batches."""
        return DataConfig(
            buckets=self.buckets, batch_tokens=self.batch_tokens, row_multiple=self.row_multiple
        )


class Sources(NamedTuple):
    """What a training reads."""

    data: epath.PathLike
    # Where the rows that `data` does not have come from.
    base: epath.PathLike | None = None
    # A finished model whose weights a fresh run begins with; of another family its embeddings and encoder.
    start: epath.PathLike | None = None


@dataclasses.dataclass(frozen=True)
class Train(Stage[TrainOptions]):
    """Makes the teacher or the student of a round."""

    round: int
    role: str
    data: str
    base: str | None = None
    start: str | None = None
    targets: int = 1

    kind: ClassVar[str] = "train"

    def inputs(self) -> dict[str, str]:
        read = {"data": self.data, "base": self.base, "start": self.start}
        return {"vocabulary": paths.DATA} | {name: maker_of(path) for name, path in read.items() if path}

    def options(self, config: Config) -> TrainOptions:
        return training_options(config, self.role, self.round, self.targets)

    def conditions(self, config: Config) -> dict[str, Any]:
        """Whether there is such a round at all: the rules that may end the rounds before it."""
        rules = ("stop_min_gain", "stop_max_drift")
        return {name: getattr(config.em, name) for name in rules} if self.round else {}

    def run(self, options: TrainOptions, context: Context) -> None:
        here = context.directory
        sources = Sources(here / self.data, self.base and here / self.base, self.start and here / self.start)
        train_model(context, options, sources, here / self.output, label=f"round {self.round} {self.role}")

    def programs(self, options: TrainOptions, target: Target) -> list[Program]:
        width = options.buckets[-1]
        model = options.model.resolve(target.vocabulary, width)
        step = train_program(self.role, model, options.train, target, options.data, targets=options.targets)
        return [step, loss_program(self.role, target, width=width)]


def training_options(config: Config, role: str, index: int = 0, targets: int = 1) -> TrainOptions:
    """Options for training `role` in round `index` on `targets` targets per row."""
    model, train = config.role(role)
    if index and config.em.warm_start:
        train = _shortened(train, config.em)
    return TrainOptions(
        role=role,
        model=model,
        train=Intervals.of(TrainConfig()).into(train),
        buckets=config.data.buckets,
        batch_tokens=config.data.with_batch(train.batch_tokens).batch_tokens,
        row_multiple=config.data.row_multiple,
        targets=targets,
        prior_beta=config.em.prior_beta if targets > 1 else 0.0,
        seed=derived_seed(config.seed, index, ROLES.index(role)),
    )


def _shortened(train: TrainConfig, em: EMConfig) -> TrainConfig:
    """The training of a round that starts warm: fewer steps (of warm-up as well), smaller ones."""
    steps, warmup = (
        max(1, round(count * em.later_steps_ratio)) for count in (train.steps, train.optim.warmup_steps)
    )
    peak_lr = train.optim.peak_lr * em.later_lr_ratio
    optim = dataclasses.replace(train.optim, peak_lr=peak_lr, warmup_steps=warmup)
    return dataclasses.replace(train, steps=steps, optim=optim)


def train_model(
    context: Context, options: TrainOptions, sources: Sources, output: epath.PathLike, *, label: str
) -> Manifest:
    """Trains a model on the first target (or targets) of each row, or goes on where a run stopped.

    What another training has begun in `output` is deleted; UserError where it has finished there, and where
    the shapes of `sources.start` differ from those of the model.
    """
    output, broadcast = epath.Path(output), context.processes.broadcast
    sets = _load_sets(context, sources)
    fingerprints = {"vocabulary": context.vocabulary.fingerprint}
    fingerprints |= {name: manifest.content_hash for name, (_, manifest) in sets.items()}
    initial = context.load_model(sources.start, options.buckets) if sources.start is not None else None
    if initial:
        fingerprints["start"] = initial.fingerprint
    # Content hashes leave scores out, which the weights of targets come from.
    shards = {name: [shard["sha256"] for shard in manifest.shards] for name, (_, manifest) in sets.items()}
    made_from = to_dict(options) | {"fingerprints": fingerprints, "shards": shards}
    if broadcast(f"{label}: begin", lambda: begin(output, made_from, context.log)):
        context.log(f"{label}: finished before")
        return load_manifest(output)
    pairs = _training_pairs(options, sets)
    run = _run_of(context, options, pairs, initial, output, label)
    result = fit(run)
    finish = functools.partial(
        finish_model,
        output,
        result,
        model=_resolved(context, options),
        train=run.config,
        rows=pairs.size // options.targets,
        fingerprints=fingerprints,
        seed=options.seed,
    )
    broadcast(f"{label}: manifest", finish)
    return load_manifest(output)


def _resolved(context: Context, options: TrainOptions) -> ModelSpec:
    return options.model.resolve(context.vocabulary.size, options.buckets[-1])


def _run_of(
    context: Context,
    options: TrainOptions,
    pairs: Pairs,
    initial: TrainedModel | None,
    output: epath.Path,
    label: str,
) -> TrainingRun:
    """The training as the loop takes it."""
    model, targets = _resolved(context, options), options.targets
    train = context.settings.intervals[options.role].into(options.train)
    stream = make_stream(context.layout, pairs, options)
    if stream.skipped:
        context.log(
            f"{label}: {stream.skipped} rows are longer than the last of data.buckets and are not learned "
            "from"
        )
    return TrainingRun(
        family=in_loss_family(model, targets, train.steps)
        if targets > 1
        else context.compiled(model, options.buckets).family,
        stream=stream,
        config=train,
        layout=context.layout,
        seed=options.seed,
        directory=output,
        valid_batches=_valid_batches(context, options),
        initial_params=_taken_over(initial, model) if initial else None,
        flops=functools.partial(_batch_flops, model, targets),
        processes=context.processes,
        log=context.log,
        name=label,
    )


def _load_sets(context: Context, sources: Sources) -> Sets:
    """The sets that a training reads; UserError for one of another vocabulary, and for a damaged one."""
    folders = {"source": sources.data} | ({"base": sources.base} if sources.base else {})
    made_of = {"vocabulary": context.vocabulary.fingerprint}
    return {name: (folder, load_manifest(folder, expect=made_of)) for name, folder in folders.items()}


def _training_pairs(options: TrainOptions, sets: Sets) -> Pairs:
    """The rows of `source`, and of `base` those that it does not have."""
    rows = overlay(*(read_dataset(folder, manifest) for folder, manifest in sets.values()))
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
    functions = context.compiled(_resolved(context, options), options.buckets)
    each, local = functions.loss_rows(), functools.partial(local_rows, layout)

    def rows(width: int) -> int:
        return each(width) * row_shares(layout)

    return lambda: sequential_batches(pairs, options.buckets, rows, local=local)


def _batch_flops(model: ModelSpec, targets: int, batch: Batch) -> float:
    rows, width = batch.target.shape
    return training_flops(model, rows, batch.source.shape[1], width, targets_per_source=targets)
