"""The training loop: train, log, evaluate, save, resume.

A run that is killed at any moment and started again ends with the same bits as an unbroken one on the
same devices: a checkpoint holds the arrays together with the position in the data, the metrics not yet
logged and the best evaluations (`LoopState`), and randomness depends on the step alone.
"""

import dataclasses
import time
from typing import NamedTuple, NoReturn

import jax
import optax

from emnat_jax.errors import require
from emnat_jax.runtime.mesh import to_global, use_layout
from emnat_jax.runtime.preemption import EndAtOnce, PreemptionGuard
from emnat_jax.runtime.progress import Progress
from emnat_jax.training.checkpoint import MADE_FROM, Checkpoints
from emnat_jax.training.choice import (
    Chosen,
    look_at_valid,
    require_valid_split,
)
from emnat_jax.training.fingerprint import fingerprint
from emnat_jax.training.loop_state import Evaluated, LoopState
from emnat_jax.training.metrics import MetricsWriter, means, merge, require_finite
from emnat_jax.training.optimizer import make_optimizer, make_schedule, with_schedule
from emnat_jax.training.restore import restore_state
from emnat_jax.training.run import FitResult, TrainingRun
from emnat_jax.training.state import (
    TrainState,
    abstract_state,
    inference_params,
    initial_state,
    state_shardings,
)
from emnat_jax.training.step import EvalStep, TrainStep, make_eval_step, make_train_step
from emnat_jax.training.weights import checkpoints_in, mean_params
from emnat_jax.types import Key, Params


class _Context(NamedTuple):
    """What does not change during a run."""

    run: TrainingRun
    key: Key
    train_step: TrainStep
    eval_step: EvalStep
    schedule: optax.Schedule  # of this run's finished steps
    checkpoints: Checkpoints
    preemption: PreemptionGuard
    writer: MetricsWriter
    progress: Progress


class _Throughput(NamedTuple):
    """Work of all processes and time since the last log line, without evaluation and saving."""

    tokens: float = 0.0
    flops: float = 0.0
    seconds: float = 0.0


def fit(run: TrainingRun) -> FitResult:
    """Trains to the last step, or from where `run.directory` ends; returns at once when that is finished.

    Raises UserError for a non-finite loss (naming step and rows), for a mesh or batch that does not
    divide, and for checkpoints none of which is good; what `PreemptionGuard.end` makes when told to end.
    """
    config, family = run.config, run.family
    require_valid_split(config, run.valid_batches is not None, run.option_group)
    tx = make_optimizer(config.optim, config.steps, family.axes)
    shardings = state_shardings(family.axes, tx, run.layout, ema=config.ema_decay is not None)
    abstract = abstract_state(family, tx, shardings)
    init_key, step_key = jax.random.split(jax.random.key(run.seed))
    with use_layout(run.layout), Checkpoints(checkpoints_in(run.directory)) as checkpoints:
        resumed = _resume(run, checkpoints, abstract)
        if resumed is None:
            resumed = _first_state(run, tx, shardings, abstract, init_key), LoopState()
        state, loop_state = resumed
        before = int(state.step) - loop_state.step  # steps of the run that this one continues
        train_step = _train_step(run, tx, shardings, before)
        eval_step = make_eval_step(family.loss, shardings)
        schedule = make_schedule(config.optim, before + config.steps)
        if not loop_state.finished(config):
            with (
                PreemptionGuard(run.processes, run.name, run.log) as preemption,
                MetricsWriter(
                    run.directory, loop_state.step, run.log, evaluated=not loop_state.unevaluated
                ) as writer,
                Progress(run.name, config.steps, loop_state.step, run.log) as progress,
            ):
                context = _Context(
                    run,
                    step_key,
                    train_step,
                    eval_step,
                    lambda step: schedule(before + step),
                    checkpoints,
                    preemption,
                    writer,
                    progress,
                )
                state, loop_state = _train_to_end(context, state, loop_state)
                checkpoints.wait()  # here, where a signal waits for it
        return _result(run, eval_step, abstract.params, state, loop_state)


def _first_state(
    run: TrainingRun,
    tx: optax.GradientTransformation,
    shardings: TrainState,
    abstract: TrainState,
    key: Key,
) -> TrainState:
    """The state before the first step: new, from given parameters, or that of the run it continues."""
    if run.continues is None:
        return initial_state(run.family, tx, shardings, run.layout, key, given=run.initial_params)
    directory, step = run.continues
    state = restore_state(checkpoints_in(directory), abstract, step)
    total_steps = int(state.step) + run.config.steps
    opt_state = with_schedule(state.opt_state, run.config.optim, total_steps)
    return dataclasses.replace(state, opt_state=opt_state)


def _train_step(
    run: TrainingRun, tx: optax.GradientTransformation, shardings: TrainState, before: int
) -> TrainStep:
    config, loss = run.config, run.family.loss
    return make_train_step(
        loss,
        tx,
        shardings,
        accumulate=config.accumulate,
        ema_decay=config.ema_decay,
        steps=before + config.steps,
    )


def _resume(
    run: TrainingRun, checkpoints: Checkpoints, abstract: TrainState
) -> tuple[TrainState, LoopState] | None:
    """The state of the latest good checkpoint, with the stream at its position; None without a checkpoint."""

    def log(text: str) -> None:
        run.log(f"{run.name}: {text}")

    restored = checkpoints.restore(abstract, log)
    if restored is None:
        return None
    state, metadata = restored
    require(
        metadata.pop(MADE_FROM, run.made_from) == run.made_from,
        f"{checkpoints_in(run.directory)} holds the checkpoints of another training (other data or options); "
        f"restore its own, or delete {run.directory} to train from the start.",
    )
    loop_state = LoopState.of(metadata).without_lost_best(checkpoints.steps())
    checkpoints.delete_others(loop_state.kept)
    if loop_state.position is not None:
        run.stream.restore(loop_state.position)
    log(f"goes on after step {loop_state.step}")
    return state, loop_state


def _train_to_end(
    context: _Context, state: TrainState, loop_state: LoopState
) -> tuple[TrainState, LoopState]:
    """Trains from stop to stop until the run is finished; the order at a stop is log, evaluate, save."""
    run, config, throughput = context.run, context.run.config, _Throughput()
    if loop_state.unevaluated:
        loop_state = _evaluate(context, state, loop_state)
    while not loop_state.finished(config):
        begun = loop_state.step
        run.processes.enter(f"{run.name} after step {begun}")
        state, loop_state, throughput = _train_to_next_stop(context, state, loop_state, throughput)
        # Told to end before the next step, it has done all this after the last one.
        if loop_state.step > begun:
            loop_state, throughput = _at_stop(context, state, loop_state, throughput)
        # A notice that comes with the last step is passed on to what runs next.
        if not loop_state.finished(config) and context.preemption.ends_after(loop_state.step):
            _save(context, state, loop_state)
            _end_early(context, loop_state)
    return state, loop_state


def _at_stop(
    context: _Context, state: TrainState, loop_state: LoopState, throughput: _Throughput
) -> tuple[LoopState, _Throughput]:
    """Logs, evaluates and saves, whatever is due after this step."""
    config = context.run.config
    if loop_state.is_due(config.log_every, config):
        _log_metrics(context, loop_state, throughput)
        loop_state, throughput = dataclasses.replace(loop_state, unlogged={}), _Throughput()
    if context.run.valid_batches is not None and loop_state.is_due(config.eval_every, config):
        loop_state = _evaluate(context, state, loop_state)
    if loop_state.step in loop_state.kept or loop_state.is_due(config.checkpoint_every, config):
        _save(context, state, loop_state)
    return loop_state, throughput


def _train_to_next_stop(
    context: _Context, state: TrainState, loop_state: LoopState, throughput: _Throughput
) -> tuple[TrainState, LoopState, _Throughput]:
    """Trains up to the next stop. The host runs ahead of the devices and reads the metrics at the stop."""
    run, begin, pending, flops = context.run, time.monotonic(), [], throughput.flops
    stop = loop_state.next_stop(run.config)
    for step in range(loop_state.step + 1, stop + 1):
        if context.preemption.ends_after(step - 1):
            stop = step - 1
            break
        batch = next(run.stream)
        rows = to_global(run.layout, batch, accumulate=run.config.accumulate)
        state, metrics = context.train_step(state, rows, context.key)
        pending.append((step, metrics, batch.row))
        flops += run.flops(rows) if run.flops else 0.0
        context.progress.advance()
    sums, tokens = loop_state.unlogged, throughput.tokens
    for (step, _, rows), metrics in zip(pending, jax.device_get([m for _, m, _ in pending]), strict=True):
        require_finite(step, metrics, rows, run.remedy)
        sums, tokens = merge(sums, metrics), tokens + float(metrics["loss"].weight)
    loop_state = dataclasses.replace(loop_state, step=stop, unlogged=sums, position=run.stream.state())
    return state, loop_state, _Throughput(tokens, flops, throughput.seconds + time.monotonic() - begin)


def _log_metrics(context: _Context, loop_state: LoopState, throughput: _Throughput) -> None:
    """Writes one line of metrics.jsonl: means over the steps since the last one."""
    values = means(loop_state.unlogged)
    values["lr"] = float(context.schedule(loop_state.step - 1))
    values["tokens_per_second"] = throughput.tokens / throughput.seconds
    if context.run.flops is not None:
        values["model_flops_per_second"] = throughput.flops / throughput.seconds
    context.writer.write(loop_state.step, values)
    context.progress.show(loop_state.step, values)


def _look_at_valid(
    run: TrainingRun, eval_step: EvalStep, params: Params, step: int
) -> tuple[Evaluated, dict[str, float]]:
    assert run.valid_batches is not None  # nobody asks without
    batches = (to_global(run.layout, batch) for batch in run.valid_batches())
    return look_at_valid(eval_step, params, batches, score=run.valid_score, step=step, mend=run.remedy)


def _evaluate(context: _Context, state: TrainState, loop_state: LoopState) -> LoopState:
    """The loop state after a look at the valid split, whose figures are logged as well.

    Told to end, the run does not wait for the figures: whoever goes on with it finds them out.
    """
    run, step = context.run, loop_state.step
    try:
        with context.preemption.at_once():
            found, values = _look_at_valid(run, context.eval_step, inference_params(state), step)
    except EndAtOnce:
        _save(context, state, dataclasses.replace(loop_state, unevaluated=True))
        _end_early(context, loop_state)
    context.writer.write(step, values)
    score = f" valid_{run.valid_score.name}={found.value:.4f}" if run.valid_score else ""
    context.progress.note(f"step {step} valid_loss={found.loss:.4f}{score}")
    return dataclasses.replace(loop_state, unevaluated=False).evaluated(found, run.config)


def _save(context: _Context, state: TrainState, loop_state: LoopState) -> None:
    """Saves a checkpoint of this step, unless there is one."""
    if loop_state.step not in context.checkpoints.steps():
        context.writer.sync()
        metadata = {**dataclasses.asdict(loop_state), MADE_FROM: context.run.made_from}
        context.checkpoints.save(loop_state.step, state, metadata, keep=loop_state.kept)


def _end_early(context: _Context, loop_state: LoopState) -> NoReturn:
    """Raises Preempted or Interrupted once all processes have saved."""
    context.checkpoints.wait()
    context.run.processes.gather(f"{context.run.name}: saved", loop_state.step)
    name, steps = context.run.name, context.run.config.steps
    raise context.preemption.end(
        f"{name} was told to end and is saved after step {loop_state.step} of {steps}"
    )


def _result(
    run: TrainingRun, eval_step: EvalStep, abstract: Params, state: TrainState, loop_state: LoopState
) -> FitResult:
    """The parameters to use: of the best evaluations where some are kept, else the last."""
    best, by = loop_state.best, run.config.chosen_by
    if by is None or not best:
        params = inference_params(state)
        return FitResult(params, loop_state.step, loop_state.valid_loss, fingerprint(params))
    params, step = mean_params(run.directory, abstract, loop_state.kept), loop_state.kept[-1]
    found = best[0]
    if len(best) > 1:
        found, _ = _look_at_valid(run, eval_step, params, step)
        steps = ", ".join(map(str, loop_state.kept))
        run.log(f"{run.name}: the weights are the mean of those after steps {steps}")
    chosen = Chosen(by, found.value, loop_state.kept)
    return FitResult(params, step, found.loss, fingerprint(params), chosen)
