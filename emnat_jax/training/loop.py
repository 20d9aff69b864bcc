"""The training loop: iterate, log, evaluate, save, resume.

A run that is killed at any moment and started again ends with the same bits as an unbroken one
on the same devices: the state, the position in the data, the sums of the current log window and
the early-stopping counters are saved together, and randomness depends on the step alone.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple, NoReturn, Protocol, runtime_checkable

import jax
import optax
from etils import epath

from emnat_jax.config import TrainConfig
from emnat_jax.errors import Preempted, UserError
from emnat_jax.families.base import Family
from emnat_jax.runtime.mesh import Layout, to_global, use_layout
from emnat_jax.runtime.preemption import PreemptionGuard
from emnat_jax.runtime.processes import Processes
from emnat_jax.runtime.progress import Progress
from emnat_jax.training.checkpoint import Checkpoints, fingerprint, read_metadata, restore_params, saved_steps
from emnat_jax.training.loop_state import LoopState
from emnat_jax.training.metrics import MetricsWriter, Sums, means, merge
from emnat_jax.training.optimizer import make_optimizer, make_schedule
from emnat_jax.training.state import (
    TrainState,
    abstract_params,
    abstract_state,
    create_state,
    inference_params,
    place_params,
    state_shardings,
)
from emnat_jax.training.step import EvalStep, TrainStep, make_eval_step, make_train_step
from emnat_jax.types import Batch, Key, Metrics, Params

ROWS_NAMED = 8  # rows that an error about a batch names
Log = Callable[[str], None]


@runtime_checkable
class Stream(Protocol):
    """Endless NumPy batches with a position.

    A batch holds this process's rows of one update, as `layout.local_rows` takes them.
    """

    def __next__(self) -> Batch: ...

    def state(self) -> dict[str, int]:
        """The position of the next batch."""

    def restore(self, state: dict[str, int]) -> None:
        """Goes to a position that `state` returned."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What is trained, on what, how, and where it is kept."""

    family: Family
    stream: Stream
    config: TrainConfig
    layout: Layout
    seed: int
    directory: epath.PathLike
    valid_batches: Callable[[], Iterable[Batch]] | None = None  # one pass over the valid split
    initial_params: Params | None = None  # all or whole modules, in place of random ones in a fresh run
    flops: Callable[[Batch], float] | None = None  # of the model in the update on a batch
    label: str = "train"
    processes: Processes = dataclasses.field(default_factory=Processes)
    log: Log = print


@dataclasses.dataclass(frozen=True)
class FitResult:
    """The outcome of a run."""

    params: Params  # the ones to use: the average, or the best by valid loss where patience is set
    step: int  # updates they have seen
    valid_loss: float | None  # theirs, in nats a token; None without a valid split
    fingerprint: str  # of params


class _Context(NamedTuple):
    """What does not change during a run."""

    run: Run
    key: Key
    train_step: TrainStep
    eval_step: EvalStep
    checkpoints: Checkpoints
    preemption: PreemptionGuard
    writer: MetricsWriter
    progress: Progress


class _Work(NamedTuple):
    """What this process did since the last log line, evaluating and saving left out."""

    tokens: float = 0.0
    flops: float = 0.0
    seconds: float = 0.0


def fit(run: Run) -> FitResult:
    """Trains to the end, or goes on from what `run.directory` holds; at once when that is finished.

    Raises UserError for a non-finite loss (naming step and rows), for a mesh or batch that does not
    divide, and for checkpoints none of which is good; Preempted when it was told to end and has saved.
    """
    config, family = run.config, run.family
    if config.patience is not None and run.valid_batches is None:
        raise UserError(f"train.patience={config.patience} needs a valid split; give one or use None.")
    tx = make_optimizer(config.optim, config.steps, family.axes)
    shardings = state_shardings(family.axes, tx, run.layout, ema=config.ema_decay is not None)
    abstract = abstract_state(family, tx, shardings)
    init_key, step_key = jax.random.split(jax.random.key(run.seed))
    with use_layout(run.layout), Checkpoints(_checkpoints_in(run.directory)) as checkpoints:
        resumed = _resume(run, checkpoints, abstract)
        state, loop = resumed or (_fresh(run, tx, shardings, init_key), LoopState())
        if not loop.finished(config):
            steps = _train_step(run, tx, shardings), make_eval_step(family.loss, shardings)
            with (
                PreemptionGuard(run.processes, run.label) as preemption,
                MetricsWriter(run.directory, loop.step, run.log) as writer,
                Progress(run.label, config.steps, loop.step, run.log) as progress,
            ):
                context = _Context(run, step_key, *steps, checkpoints, preemption, writer, progress)
                state, loop = _run(context, state, loop)
        checkpoints.wait()
        return _result(run.directory, abstract.params, state, loop)


def load_params(directory: epath.PathLike, family: Family, layout: Layout) -> Params:
    """The parameters that `fit` returned for `directory`, read from its checkpoints.

    Raises UserError when there are none or they are damaged.
    """
    folder = _checkpoints_in(directory)
    loop = LoopState(**(read_metadata(folder) or {})).without_lost_best(saved_steps(folder))
    return restore_params(folder, abstract_params(family, layout), loop.best_step)


def _checkpoints_in(directory: epath.PathLike) -> epath.Path:
    return epath.Path(directory) / "checkpoints"


def _train_step(run: Run, tx: optax.GradientTransformation, shardings: TrainState) -> TrainStep:
    options = {"accumulate": run.config.accumulate, "ema_decay": run.config.ema_decay}
    return make_train_step(run.family.loss, tx, shardings, **options)


def _resume(run: Run, checkpoints: Checkpoints, abstract: TrainState) -> tuple[TrainState, LoopState] | None:
    """Where the last run stopped, with the stream put there too; None for a first run."""

    def log(text: str) -> None:
        run.log(f"{run.label}: {text}")

    restored = checkpoints.restore(abstract, log)
    if restored is None:
        return None
    state, loop = restored[0], LoopState(**restored[1]).without_lost_best(checkpoints.steps())
    run.stream.restore(loop.position)
    log(f"goes on after step {loop.step}")
    return state, loop


def _fresh(run: Run, tx: optax.GradientTransformation, shardings: TrainState, key: Key) -> TrainState:
    """The state before the first update, on its devices."""
    params = run.initial_params
    if params is not None:
        params = place_params(params, abstract_params(run.family, run.layout))

    def create(key: Key, params: Params | None) -> TrainState:
        return create_state(run.family, tx, key, ema=shardings.ema is not None, initial_params=params)

    # Run once: on a CPU optimising the code takes ten times as long as running it.
    once = (
        {"xla_backend_optimization_level": 0} if run.layout.mesh.devices.flat[0].platform == "cpu" else None
    )
    return jax.jit(create, out_shardings=shardings, compiler_options=once)(key, params)


def _run(context: _Context, state: TrainState, loop: LoopState) -> tuple[TrainState, LoopState]:
    """From one stop to the next until the run is finished; the order at a stop is log, evaluate, save."""
    config, work = context.run.config, _Work()
    while not loop.finished(config):
        context.run.processes.enter(f"{context.run.label} after step {loop.step}")
        state, loop, work = _advance(context, state, loop, work)
        if loop.is_due(config.log_every, config):
            _log_window(context, loop, work)
            loop, work = dataclasses.replace(loop, window={}), _Work()
        if context.run.valid_batches is not None and loop.is_due(config.eval_every, config):
            loop = _evaluate(context, state, loop)
        if loop.best_step == loop.step or loop.is_due(config.checkpoint_every, config):
            _save(context, state, loop)
        if context.preemption.ends_after(loop.step) and not loop.finished(config):
            _save(context, state, loop)
            _end_early(context, loop)
    return state, loop


def _save(context: _Context, state: TrainState, loop: LoopState) -> None:
    if loop.step not in context.checkpoints.steps():
        context.writer.sync()
        context.checkpoints.save(loop.step, state, dataclasses.asdict(loop), keep=loop.best_step)


def _end_early(context: _Context, loop: LoopState) -> NoReturn:
    context.checkpoints.wait()
    context.run.processes.gather(f"{context.run.label}: saved", loop.step)
    raise Preempted(f"{context.run.label} was told to end and is saved after step {loop.step}")


def _advance(
    context: _Context, state: TrainState, loop: LoopState, work: _Work
) -> tuple[TrainState, LoopState, _Work]:
    """Updates up to the next stop. The host runs ahead of the devices and looks at results there."""
    begin, pending, flops = time.monotonic(), [], work.flops
    stop = loop.next_stop(context.run.config)
    for step in range(loop.step + 1, stop + 1):
        if context.preemption.ends_after(step - 1):
            stop = step - 1
            break
        batch = next(context.run.stream)
        rows = to_global(context.run.layout, batch, accumulate=context.run.config.accumulate)
        state, metrics = context.train_step(state, rows, context.key)
        pending.append((step, metrics, batch.row))
        flops += context.run.flops(batch) if context.run.flops else 0.0
        context.progress.advance()
    window, tokens = loop.window, work.tokens
    for (step, _, rows), metrics in zip(pending, jax.device_get([m for _, m, _ in pending]), strict=True):
        _require_finite(step, metrics, rows)
        window, tokens = merge(window, metrics), tokens + float(metrics["loss"].weight)
    loop = dataclasses.replace(loop, step=stop, window=window, position=context.run.stream.state())
    return state, loop, _Work(tokens, flops, work.seconds + time.monotonic() - begin)


def _require_finite(step: int, metrics: Metrics, rows) -> None:
    """UserError when the loss, the gradient or the new parameters of this update are not finite."""
    if all(math.isfinite(metrics[name].total) for name in ("loss", "grad_norm", "param_norm")):
        return
    named = ", ".join(str(row) for row in rows[rows >= 0][:ROWS_NAMED])
    raise UserError(
        f"the loss, its gradient or the weights are not finite at step {step} (loss {metrics['loss'].value()}, gradient norm "
        f"{metrics['grad_norm'].value()}); the batch begins with rows {named}. The last checkpoint is kept: "
        f"lower train.optim.peak_lr, or look at these rows, and train again."
    )


def _log_window(context: _Context, loop: LoopState, work: _Work) -> None:
    """One line of metrics.jsonl for the updates since the last one."""
    values = means(loop.window)
    values["lr"] = float(make_schedule(context.run.config.optim, context.run.config.steps)(loop.step - 1))
    values["tokens_per_second"] = work.tokens / work.seconds
    if context.run.flops is not None:
        values["model_flops_per_second"] = work.flops / work.seconds
    context.writer.write(loop.step, values)
    context.progress.show(loop.step, values)


def _evaluate(context: _Context, state: TrainState, loop: LoopState) -> LoopState:
    """The loop after one pass over the valid split, which is written down as well."""
    params = inference_params(state)
    batches = [
        context.eval_step(params, to_global(context.run.layout, batch))
        for batch in context.run.valid_batches()
    ]
    sums: Sums = {}
    for metrics in jax.device_get(batches):
        sums = merge(sums, metrics)
    values = means(sums, "valid_")
    if not batches or not math.isfinite(values["valid_loss"]):
        what = f"is {values['valid_loss']}" if batches else "has no rows"
        raise UserError(f"the loss on the valid split {what} at step {loop.step}; look at its rows.")
    context.writer.write(loop.step, values)
    context.progress.note(f"step {loop.step} valid_loss={values['valid_loss']:.4f}")
    return loop.evaluated(values["valid_loss"], context.run.config)


def _result(directory: epath.PathLike, abstract: Params, state: TrainState, loop: LoopState) -> FitResult:
    """The parameters to use: those of the best step where one was kept, else the last."""
    if loop.best_step in (None, loop.step):
        params, step, loss = inference_params(state), loop.step, loop.valid_loss
    else:
        params = restore_params(_checkpoints_in(directory), abstract, loop.best_step)
        step, loss = loop.best_step, loop.best_loss
    return FitResult(params, step, loss, fingerprint(params))
