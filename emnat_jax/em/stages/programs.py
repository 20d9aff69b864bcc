"""Training, decoding and scoring programs, lowered for devices that need not be attached."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from emnat_jax.config import DataConfig, ModelSpec, TrainConfig
from emnat_jax.data.batches import bucket_rows
from emnat_jax.families import in_loss_family, make_family
from emnat_jax.inference.decode import make_decode_step
from emnat_jax.inference.score import make_score_step
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


class Target(NamedTuple):
    """What is compiled for: the devices, and the sizes that no configuration of a stage knows."""

    layout: Layout
    models: dict[str, ModelSpec]  # by role, resolved
    vocabulary: int
    decode_rows: int  # of a decoding or scoring batch on each device


class Program(NamedTuple):
    """One compiled program of a stage."""

    name: str
    lower: Callable[[], Any]
    pairs: int  # that one call takes, on all hosts together
    width: int  # tokens of each side, padding counted
    calls: int | None  # in the stage; None: one pass over the corpus
    targets: int = 1  # of a source in that pass


def train_program(
    model: ModelSpec,
    train: TrainConfig,
    layout: Layout,
    data: DataConfig,
    *,
    targets: int = 1,
) -> Program:
    """One step on a batch of the widest rows. UserError where they cannot be shared out over the devices."""
    width, accumulate = data.max_length, train.accumulate
    require_rows_divide(layout, data.row_multiple, accumulate)
    rows = targets * bucket_rows(width * targets, data.batch_tokens, data.row_multiple)

    def lower() -> Any:
        family = make_family(model) if targets == 1 else in_loss_family(model, targets)
        ema = train.ema_decay is not None
        tx = make_optimizer(train.optim, train.steps, family.axes)
        shardings = state_shardings(family.axes, tx, layout, ema=ema)
        step: Any = make_train_step(
            family.loss,
            tx,
            shardings,
            accumulate=accumulate,
            ema_decay=train.ema_decay,
            steps=train.steps,
        )
        key = jax.eval_shape(lambda: jax.random.key(0))
        key = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=replicated(layout.mesh))
        with use_layout(layout):
            return step.lower(
                abstract_state(family, tx, shardings), _batch(layout, rows, width, accumulate), key
            )

    return Program(f"train {model.family}", lower, rows, width, train.steps)


def decode_program(verb: str, role: str, target: Target, *, width: int, count: int = 1) -> Program:
    """The `count` best translations of a source by the model of a role; its name is `verb` and the family."""
    model, layout = target.models[role], target.layout
    rows = target.decode_rows * row_shares(layout)

    def lower() -> Any:
        family = make_family(model)
        with use_layout(layout):
            step: Any = make_decode_step(family, layout, count)
            return step.lower(abstract_params(family, layout), _batch(layout, rows, width))

    return Program(f"{verb} {model.family}", lower, rows, width, None)


def score_program(role: str, target: Target, *, width: int, targets: int = 1) -> Program:
    """log p of this many targets a source under the model of a role."""
    model, layout = target.models[role], target.layout
    rows = target.decode_rows * row_shares(layout)

    def lower() -> Any:
        family = make_family(model)
        with use_layout(layout):
            step: Any = make_score_step(family, layout)
            return step.lower(abstract_params(family, layout), _batch(layout, rows, width))

    return Program(f"score with {model.family}", lower, rows, width, None, targets)


def _batch(layout: Layout, rows: int, width: int, accumulate: int = 1) -> Batch:
    """An abstract batch of full rows."""
    sharding = batch_sharding(layout.mesh, stacked=accumulate > 1)
    stack = (accumulate,) if accumulate > 1 else ()

    def array(dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((*stack, rows // accumulate, *shape), dtype, sharding=sharding)

    return Batch(array(jnp.int32, width), array(jnp.int32, width), array(jnp.float32), array(jnp.int32))
