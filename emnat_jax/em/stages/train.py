"""Train one model of a workdir on one data set: the stage, and the body of `emnat train`."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.manifest import Manifest, is_finished, load_manifest, read_dataset
from emnat_jax.artifacts.records import overlay
from emnat_jax.config import ROLES, Config, DataConfig, EMConfig, ModelConfig, ModelSpec, Scoring, TrainConfig
from emnat_jax.config.convert import to_dict
from emnat_jax.data.batches import BatchStream, sequential_batches
from emnat_jax.data.pairs import Pairs, load_pairs, make_groups, make_pairs
from emnat_jax.em.context import Context, Intervals, derived_seed
from emnat_jax.em.stages.base import Stage, maker_of
from emnat_jax.em.stages.begun import begin
from emnat_jax.em.stages.programs import Program, Target, decode_program, train_program
from emnat_jax.em.valid_score import make_valid_score
from emnat_jax.errors import require
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
    scoring: Scoring | None  # of BLEU, where evaluations are compared by it
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
    # A finished model whose translations of the valid split train.best_by=distilled_loss looks at.
    teacher: epath.PathLike | None = None
    mono: epath.PathLike | None = None  # translations of sources that neither of the two has


@dataclasses.dataclass(frozen=True)
class Train(Stage[TrainOptions]):
    """Makes the teacher or the student of a round."""

    round: int
    role: str
    data: str
    base: str | None = None
    start: str | None = None
    targets: int = 1
    teacher: str | None = None  # only where the training looks at its translations of the valid split
    mono: str | None = None

    kind: ClassVar[str] = "train"

    def inputs(self) -> dict[str, str]:
        read = {
            "data": self.data,
            "base": self.base,
            "start": self.start,
            "teacher": self.teacher,
            "mono": self.mono,
        }
        return {"vocabulary": paths.DATA} | {name: maker_of(path) for name, path in read.items() if path}

    def options(self, config: Config) -> TrainOptions:
        return training_options(config, self.role, self.round, self.targets)

    def conditions(self, config: Config) -> dict[str, Any]:
        """Whether there is such a round at all: the rules that may end the rounds before it."""
        rules = ("stop_min_gain", "stop_max_drift")
        return {name: getattr(config.em, name) for name in rules} if self.round else {}

    def run(self, options: TrainOptions, context: Context) -> None:
        here = context.directory
        others = (path and here / path for path in (self.base, self.start, self.teacher, self.mono))
        sources = Sources(here / self.data, *others)
        label = f"round {self.round} {self.role}"
        train_model(context, options, sources, here / self.output, label=label, remedy=self._remedy())

    def _remedy(self) -> str:
        """How to lower the rate of this training."""
        key = f"{self.role}_train.optim.peak_lr" if self.start is None else "em.later_lr_ratio"
        if self.round == 0:
            return f"lower {self.role}_train.optim.peak_lr and run again"
        return f"lower {key} and run again; `emnat em --plan` says what must be deleted for that"

    def programs(self, options: TrainOptions, target: Target) -> list[Program]:
        model, train, width = _resolved(options, target.vocabulary), options.train, options.buckets[-1]
        programs = [train_program(model, train, target.layout, options.data, targets=options.targets)]
        if train.chosen_by == "bleu":
            programs.append(decode_program("evaluate", options.role, target, width=width))
        return programs


def training_options(config: Config, role: str, index: int = 0, targets: int = 1) -> TrainOptions:
    """Options for training `role` in round `index` on `targets` targets per row."""
    model, train = config.role(role)
    if index and config.em.warm_start:
        train = _shortened(train, config.em)
        model = dataclasses.replace(model, options=model.family_options.continued())
    return TrainOptions(
        role=role,
        model=model,
        train=Intervals.of(TrainConfig()).into(train),
        buckets=config.data.buckets,
        batch_tokens=config.data.with_batch(train.batch_tokens).batch_tokens,
        row_multiple=config.data.row_multiple,
        targets=targets,
        prior_beta=config.em.prior_beta if targets > 1 else 0.0,
        scoring=config.scoring if train.chosen_by == "bleu" else None,
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
    pairs = _training_pairs(options, sets)
    run = _run_of(context, options, pairs, others, output, label)
    result = fit(dataclasses.replace(run, remedy=remedy))
    finish = functools.partial(
        finish_model,
        output,
        result,
        model=_resolved(options, context.vocabulary.size),
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


def _resolved(options: TrainOptions, vocabulary: int) -> ModelSpec:
    return options.model.resolve(vocabulary, options.buckets[-1])


def _run_of(
    context: Context,
    options: TrainOptions,
    pairs: Pairs,
    others: _Models,
    output: epath.Path,
    label: str,
) -> TrainingRun:
    """The training as the loop takes it."""
    model, targets = _resolved(options, context.vocabulary.size), options.targets
    train = context.settings.intervals[options.role].into(options.train)
    functions = context.compiled(model, options.buckets)
    stream = make_stream(context.layout, pairs, options)
    if stream.skipped:
        context.log(
            f"{label}: {stream.skipped} rows are longer than the last of data.buckets and are not learned "
            "from"
        )
    return TrainingRun(
        family=in_loss_family(model, targets) if targets > 1 else functions.family,
        stream=stream,
        config=train,
        layout=context.layout,
        seed=options.seed,
        directory=output,
        valid_batches=_valid_batches(context, options.buckets),
        valid_score=make_valid_score(context, options.scoring, train, functions, others.teacher),
        initial_params=_taken_over(others.start, model) if others.start else None,
        flops=functools.partial(_batch_flops, model, targets),
        processes=context.processes,
        log=context.log,
        name=label,
        option_group=f"{options.role}_train",
    )


def _load_sets(context: Context, sources: Sources) -> Sets:
    """The sets that a training reads; UserError for one of another vocabulary, and for a damaged one."""
    named = {"source": sources.data, "base": sources.base, "mono": sources.mono}
    folders = {name: folder for name, folder in named.items() if folder}
    made_of = {"vocabulary": context.vocabulary.fingerprint}
    sets = {name: (folder, load_manifest(folder, expect=made_of)) for name, folder in folders.items()}
    for folder, manifest in sets.values():
        require(
            manifest.kind != "mono",
            f"{folder} has sources without translations; make some: emnat distill --data={folder}.",
        )
    return sets


def _training_pairs(options: TrainOptions, sets: Sets) -> Pairs:
    """The rows of `source`, and of `base` and `mono` those that it does not have."""
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


def _valid_batches(context: Context, buckets: tuple[int, ...]) -> Callable[[], Iterable[Batch]] | None:
    """The valid split in order, or None where the workdir has none."""
    directory = context.directory / paths.split("valid")
    if not is_finished(directory):
        return None
    pairs, layout = load_pairs(directory), context.layout
    rows = context.settings.decode_rows * row_shares(layout)
    return lambda: sequential_batches(pairs, buckets, rows, local=functools.partial(local_rows, layout))


def _batch_flops(model: ModelSpec, targets: int, batch: Batch) -> float:
    rows, width = batch.target.shape
    return training_flops(model, rows, batch.source.shape[1], width, targets_per_source=targets)
