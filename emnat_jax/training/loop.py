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
from emnat_jax.runtime.preemption import Notice
from emnat_jax.runtime.processes import Processes
from emnat_jax.runtime.progress import Progress
from emnat_jax.training.checkpoint import Checkpoints, fingerprint, read_metadata, restore_params, saved_steps
from emnat_jax.training.loop_state import Standing
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


class _Tools(NamedTuple):
    """What does not change during a run."""

    run: Run
    key: Key
    train_step: TrainStep
    eval_step: EvalStep
    checkpoints: Checkpoints
    notice: Notice
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
        state, standing = resumed or (_fresh(run, tx, shardings, init_key), Standing())
        if not standing.finished(config):
            steps = _train_step(run, tx, shardings), make_eval_step(family.loss, shardings)
            with (
                Notice(run.processes, run.label) as notice,
                MetricsWriter(run.directory, standing.step, run.log) as writer,
                Progress(run.label, config.steps, standing.step, run.log) as progress,
            ):
                tools = _Tools(run, step_key, *steps, checkpoints, notice, writer, progress)
                state, standing = _run(tools, state, standing)
        checkpoints.wait()
        return _result(run.directory, abstract.params, state, standing)


def load_params(directory: epath.PathLike, family: Family, layout: Layout) -> Params:
    """The parameters that `fit` returned for `directory`, read from its checkpoints.

    Raises UserError when there are none or they are damaged.
    """
    folder = _checkpoints_in(directory)
    standing = Standing(**(read_metadata(folder) or {})).without_lost_best(saved_steps(folder))
    return restore_params(folder, abstract_params(family, layout), standing.best_step)


def _checkpoints_in(directory: epath.PathLike) -> epath.Path:
    return epath.Path(directory) / "checkpoints"


def _train_step(run: Run, tx: optax.GradientTransformation, shardings: TrainState) -> TrainStep:
    options = {"accumulate": run.config.accumulate, "ema_decay": run.config.ema_decay}
    return make_train_step(run.family.loss, tx, shardings, **options)


def _resume(run: Run, checkpoints: Checkpoints, abstract: TrainState) -> tuple[TrainState, Standing] | None:
    """Where the last run stopped, with the stream put there too; None for a first run."""

    def log(text: str) -> None:
        run.log(f"{run.label}: {text}")

    restored = checkpoints.restore(abstract, log)
    if restored is None:
        return None
    state, standing = restored[0], Standing(**restored[1]).without_lost_best(checkpoints.steps())
    run.stream.restore(standing.position)
    log(f"goes on after step {standing.step}")
    return state, standing


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


def _run(tools: _Tools, state: TrainState, standing: Standing) -> tuple[TrainState, Standing]:
    """From one stop to the next until the run is finished; the order at a stop is log, evaluate, save."""
    config, work = tools.run.config, _Work()
    while not standing.finished(config):
        tools.run.processes.enter(f"{tools.run.label} after step {standing.step}")
        state, standing, work = _advance(tools, state, standing, work)
        if standing.is_due(config.log_every, config):
            _log_window(tools, standing, work)
            standing, work = dataclasses.replace(standing, window={}), _Work()
        if tools.run.valid_batches is not None and standing.is_due(config.eval_every, config):
            standing = _evaluate(tools, state, standing)
        if standing.best_step == standing.step or standing.is_due(config.checkpoint_every, config):
            _save(tools, state, standing)
        if tools.notice.ends_after(standing.step) and not standing.finished(config):
            _save(tools, state, standing)
            _end_early(tools, standing)
    return state, standing


def _save(tools: _Tools, state: TrainState, standing: Standing) -> None:
    if standing.step not in tools.checkpoints.steps():
        tools.writer.sync()
        tools.checkpoints.save(standing.step, state, dataclasses.asdict(standing), keep=standing.best_step)


def _end_early(tools: _Tools, standing: Standing) -> NoReturn:
    tools.checkpoints.wait()
    tools.run.processes.gather(f"{tools.run.label}: saved", standing.step)
    raise Preempted(f"{tools.run.label} was told to end and is saved after step {standing.step}")


def _advance(
    tools: _Tools, state: TrainState, standing: Standing, work: _Work
) -> tuple[TrainState, Standing, _Work]:
    """Updates up to the next stop. The host runs ahead of the devices and looks at results there."""
    begin, pending, flops = time.monotonic(), [], work.flops
    stop = standing.next_stop(tools.run.config)
    for step in range(standing.step + 1, stop + 1):
        if tools.notice.ends_after(step - 1):
            stop = step - 1
            break
        batch = next(tools.run.stream)
        rows = to_global(tools.run.layout, batch, accumulate=tools.run.config.accumulate)
        state, metrics = tools.train_step(state, rows, tools.key)
        pending.append((step, metrics, batch.row))
        flops += tools.run.flops(batch) if tools.run.flops else 0.0
        tools.progress.advance()
    window, tokens = standing.window, work.tokens
    for (step, _, rows), metrics in zip(pending, jax.device_get([m for _, m, _ in pending]), strict=True):
        _require_finite(step, metrics, rows)
        window, tokens = merge(window, metrics), tokens + float(metrics["loss"].weight)
    standing = dataclasses.replace(standing, step=stop, window=window, position=tools.run.stream.state())
    return state, standing, _Work(tokens, flops, work.seconds + time.monotonic() - begin)


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


def _log_window(tools: _Tools, standing: Standing, work: _Work) -> None:
    """One line of metrics.jsonl for the updates since the last one."""
    values = means(standing.window)
    values["lr"] = float(make_schedule(tools.run.config.optim, tools.run.config.steps)(standing.step - 1))
    values["tokens_per_second"] = work.tokens / work.seconds
    if tools.run.flops is not None:
        values["model_flops_per_second"] = work.flops / work.seconds
    tools.writer.write(standing.step, values)
    tools.progress.show(standing.step, values)


def _evaluate(tools: _Tools, state: TrainState, standing: Standing) -> Standing:
    """The standing after one pass over the valid split, which is written down as well."""
    params = inference_params(state)
    batches = [
        tools.eval_step(params, to_global(tools.run.layout, batch)) for batch in tools.run.valid_batches()
    ]
    sums: Sums = {}
    for metrics in jax.device_get(batches):
        sums = merge(sums, metrics)
    values = means(sums, "valid_")
    if not batches or not math.isfinite(values["valid_loss"]):
        what = f"is {values['valid_loss']}" if batches else "has no rows"
        raise UserError(f"the loss on the valid split {what} at step {standing.step}; look at its rows.")
    tools.writer.write(standing.step, values)
    tools.progress.note(f"step {standing.step} valid_loss={values['valid_loss']:.4f}")
    return standing.evaluated(values["valid_loss"], tools.run.config)


def _result(directory: epath.PathLike, abstract: Params, state: TrainState, standing: Standing) -> FitResult:
    """The parameters to use: those of the best step where one was kept, else the last."""
    if standing.best_step in (None, standing.step):
        params, step, loss = inference_params(state), standing.step, standing.valid_loss
    else:
        params = restore_params(_checkpoints_in(directory), abstract, standing.best_step)
        step, loss = standing.best_step, standing.best_loss
    return FitResult(params, step, loss, fingerprint(params))
