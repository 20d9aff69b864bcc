"""Training, decoding and scoring programs, lowered for devices that need not be attached."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from emnat_jax.config import DataConfig, LengthChoices, ModelSpec, TrainConfig
from emnat_jax.data.batches import bucket_rows
from emnat_jax.families import make_family, parallel_parts, training_family
from emnat_jax.families.base import Family
from emnat_jax.inference.alternatives import ROWS, make_alternatives_step
from emnat_jax.inference.batching import abstract_batch, device_rows, fewer_rows, most_lists
from emnat_jax.inference.decode import make_decode_step, make_lengths_step
from emnat_jax.inference.rescore import make_rescored_step
from emnat_jax.inference.score import make_list_score_step, make_loss_step, make_score_step
from emnat_jax.runtime.memory import Memory
from emnat_jax.runtime.mesh import (
    Layout,
    batch_sharding,
    replicated,
    require_rows_divide,
    row_shares,
    use_layout,
)
from emnat_jax.training.optimizer import make_optimizer
from emnat_jax.training.state import abstract_params, abstract_state, state_shardings
from emnat_jax.training.step import make_train_step
from emnat_jax.types import Batch

SMALL = 0  # `Program.targets` of what passes over the valid and test splits alone


class Target(NamedTuple):
    """What is compiled for: the devices, and the sizes that no configuration of a stage knows."""

    layout: Layout
    models: dict[str, ModelSpec]  # by role, resolved
    vocabulary: int
    decode_rows: int | None  # of a decoding or scoring batch on each device; None: as many as fit
    memory: Memory  # of each device


class Call(NamedTuple):
    """One call of a program, with the rows that it takes."""

    lower: Callable[[], Any]
    surely_fits: Callable[[], bool]  # by the estimate of its bytes
    pairs: int  # that it takes, on all hosts together
    remedy: str  # what to do where it does not fit


class Program(NamedTuple):
    """One compiled program of a stage."""

    name: str
    make: Callable[[], Call]  # seconds: its size may depend on traces of it
    width: int  # tokens of each side, padding counted
    calls: int | None  # in the stage; None: one pass over the corpus
    targets: int = 1  # of a source; SMALL: no pass over the corpus


def train_program(
    role: str,
    model: ModelSpec,
    train: TrainConfig,
    target: Target,
    data: DataConfig,
    *,
    targets: int = 1,
) -> Program:
    """One step on a batch of the widest rows. UserError where they cannot be shared out over the devices."""
    width, accumulate, layout = data.max_length, train.accumulate, target.layout
    require_rows_divide(layout, data.row_multiple, accumulate)
    rows = targets * bucket_rows(width * targets, data.batch_tokens, data.row_multiple)

    def make() -> Call:
        family = training_family(model, train.objective, targets)
        remedy = _train_remedy(role, model, train, layout, data)
        return _train_call(family, train, target, (rows, width), remedy)

    return Program(f"train {model.family}", make, width, train.steps, targets)


def _train_call(
    family: Family, train: TrainConfig, target: Target, shape: tuple[int, int], remedy: str
) -> Call:
    (rows, width), accumulate, layout = shape, train.accumulate, target.layout
    tx = make_optimizer(train.optim, train.steps, family.axes)
    shardings = state_shardings(family.axes, tx, layout, ema=train.ema_decay is not None)
    step: Any = make_train_step(
        family.loss, tx, shardings, accumulate=accumulate, ema_decay=train.ema_decay, steps=train.steps
    )
    key = jax.eval_shape(lambda: jax.random.key(0))

    def lower() -> Any:
        everywhere = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=replicated(layout.mesh))
        with use_layout(layout):
            batch = _batch(layout, rows, width, width, accumulate)
            return step.lower(abstract_state(family, tx, shardings), batch, everywhere)

    def surely_fits() -> bool:
        batch = abstract_batch(rows // row_shares(layout) // accumulate, width, width)
        state = abstract_state(family, tx, shardings)
        return target.memory.holds(step, state, _stacked(batch, accumulate), key)

    return Call(lower, surely_fits, rows, remedy)


def _train_remedy(role: str, model: ModelSpec, train: TrainConfig, layout: Layout, data: DataConfig) -> str:
    """The options that make a training step smaller, with values that go together."""
    accumulate = 2 * train.accumulate
    multiple = math.lcm(data.row_multiple, row_shares(layout) * accumulate)
    changes = f"--config.{role}_train.accumulate={accumulate}"
    changes += "" if multiple == data.row_multiple else f" --config.data.row_multiple={multiple}"
    recompute = "" if model.transformer.remat else f", recompute with --config.{role}.remat=True"
    return (
        f"cut its batch in parts with {changes}{recompute}, lower --config.{role}_train.batch_tokens="
        f"{data.batch_tokens // 2}, or spread the weights with --config.mesh.fsdp=2"
    )


def decode_program(verb: str, role: str, target: Target, *, width: int, count: int = 1) -> Program:
    """The `count` best translations of a source by the model of a role; its name is `verb` and the family."""
    return _decode_program(f"{verb} {target.models[role].family}", target.models[role], target, width, count)


def sample_program(
    role: str, target: Target, count: int, temperature: float, seed: int, *, width: int
) -> Program:
    """`count` draws from the model of a role for a source."""
    model = target.models[role].with_sampling(temperature, seed)
    return _decode_program(f"{count} samples of {model.family}", model, target, width, count)


def _decode_program(name: str, model: ModelSpec, target: Target, width: int, count: int) -> Program:
    def step(family: Family) -> Any:
        return make_decode_step(family, target.layout, count)

    return Program(name, _inference(step, [model], target, (width, 1)), width, None)


def lengths_program(model: ModelSpec, choices: LengthChoices, target: Target, *, width: int) -> Program:
    """The best translation of a source with each value of what moves the length of outputs."""
    decoding = dataclasses.replace(model, options=choices.options)

    def step(family: Family) -> Any:
        return make_lengths_step(decoding, choices.values, target.layout)

    make = _inference(step, [decoding], target, (width, 1))
    return Program(f"tune the length of {model.family}", make, width, None, SMALL)


def score_program(role: str, target: Target, *, width: int, targets: int = 1) -> Program:
    """log p of this many targets a source under the model of a role."""

    model = target.models[role]
    parts = parallel_parts(model)
    together = 1 if parts is None else targets  # of a source in one batch

    def step(family: Family) -> Any:
        if parts is None or together == 1:
            return make_score_step(family, target.layout)
        return make_list_score_step(parts, target.layout, together)

    make = _inference(step, [model], target, (width, width), together=together)
    return Program(f"score with {model.family}", make, width, None, targets)


def loss_program(role: str, target: Target, *, width: int) -> Program:
    """The family's metrics of pairs, as on the valid split in a training."""

    def step(family: Family) -> Any:
        return make_loss_step(family, target.layout)

    model = target.models[role]
    make = _inference(step, [model], target, (width, width))
    return Program(f"loss of {model.family}", make, width, None, SMALL)


def rescored_program(target: Target, *, width: int, count: int) -> Program:
    """The student's `count` hypotheses of a source in the teacher's order."""
    models = [target.models[role] for role in ("student", "teacher")]
    alpha = models[1].options.length_penalty

    def step(student: Family, teacher: Family) -> Any:
        return make_rescored_step(student, teacher, target.layout, count=count, alpha=alpha)

    name = "{} of {} rescored with {}".format(count, *(model.family for model in models))
    return Program(name, _inference(step, models, target, (width, 1)), width, None, SMALL)


def alternatives_program(target: Target, *, width: int, count: int) -> Program:
    """The student's `count` most probable tokens at each position of some outputs."""
    model = target.models["student"]

    def step(family: Family) -> Any:
        parts = parallel_parts(model)
        assert parts is not None, "a student is parallel"
        return make_alternatives_step(parts, target.layout, count)

    make = _inference(step, [model], target, (width, width), most=ROWS)
    return Program(f"alternatives of {model.family}", make, width, None, SMALL)


def _inference(
    make_step: Callable[..., Any],
    models: list[ModelSpec],
    target: Target,
    widths: tuple[int, int],
    *,
    most: int | None = None,
    together: int = 1,
) -> Callable[[], Call]:
    """A step on the parameters of these models and a batch of sources and targets of these widths.

    A row may have several targets `together`, side by side.
    """
    if together > 1:
        most = most_lists(target.decode_rows, target.memory, together)
        widths = widths[0], together * widths[1]

    def make() -> Call:
        layout, families = target.layout, [make_family(model) for model in models]
        step, shapes = make_step(*families), tuple(abstract_params(family, layout) for family in families)
        params: Any = shapes if len(shapes) > 1 else shapes[0]
        rows = device_rows(target.decode_rows, step, params, widths, target.memory, most=most)

        def lower() -> Any:
            with use_layout(layout):
                return step.lower(params, _batch(layout, rows * row_shares(layout), *widths))

        def surely_fits() -> bool:
            return target.memory.holds(step, params, abstract_batch(rows, *widths))

        return Call(lower, surely_fits, together * rows * row_shares(layout), fewer_rows(rows, together))

    return make


def _batch(layout: Layout, rows: int, source: int, target: int, accumulate: int = 1) -> Batch:
    """An abstract batch of full rows, spread over the devices."""
    sharding = batch_sharding(layout.mesh, stacked=accumulate > 1)
    batch = _stacked(abstract_batch(rows // accumulate, source, target), accumulate)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), batch)


def _stacked(batch: Batch, accumulate: int) -> Batch:
    """The batch of micro-batches like this one, where there are several."""
    stack = (accumulate,) if accumulate > 1 else ()
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*stack, *leaf.shape), leaf.dtype), batch)
