"""The programs of one EM round, lowered for a TPU slice: what fits, what bounds each, how long a round takes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from emnat_jax.config import Config, MeshConfig, ModelSpec, TrainConfig
from emnat_jax.data.pipeline import bucket_rows
from emnat_jax.em.plan import make_plan
from emnat_jax.families import in_loss_family, make_family
from emnat_jax.inference.decode import make_decode_step
from emnat_jax.inference.score import make_score_step
from emnat_jax.profiling.aot import CHIPS, Chip, compile_program
from emnat_jax.profiling.roofline import costs
from emnat_jax.runtime.mesh import (
    Layout,
    batch_sharding,
    make_layout,
    replicated,
    require_rows_divide,
    row_shares,
    use_layout,
)
from emnat_jax.training.optimizer import make_optimizer
from emnat_jax.training.state import abstract_params, abstract_state, state_shardings
from emnat_jax.training.step import make_train_step
from emnat_jax.types import Batch


class Slice(NamedTuple):
    """The devices that are compiled for."""

    chip: Chip
    chips: int
    hosts: int
    layout: Layout


class Step(NamedTuple):
    """One compiled program of a round."""

    name: str
    lower: Callable[[], Any]
    pairs: int  # that one call takes, on all hosts together
    width: int  # tokens of each side, padding counted
    calls: int | None  # in a stage of round 0; None: one pass over the corpus
    targets: int = 1  # of a source in that pass


def make_slice(config: MeshConfig, devices: list[jax.Device]) -> Slice:
    """A slice laid out as `config` says. Raises UserError where the mesh does not fill it."""
    hosts = len({device.process_index for device in devices})
    return Slice(CHIPS[devices[0].device_kind], len(devices), hosts, make_layout(config, devices))


def round_steps(config: Config, vocabulary: int, there: Slice) -> dict[str, Step]:
    """Every program of the plan's rounds by name, at the widest bucket: training, decoding and scoring."""
    teacher, student = (
        m.resolve(vocabulary, config.data.max_length) for m in (config.teacher, config.student)
    )
    models, plan, count = {"teacher": teacher, "student": student}, make_plan(config), config.em.candidates
    targets = max(stage.targets for stage in plan)
    steps = [
        _train(f"train {teacher.family}", teacher, config.teacher_train, config, there),
        _train(f"train {student.family}", student, config.student_train, config, there, targets),
        _decode(f"distill with {teacher.family}", teacher, 1, config, there),
        *(
            _decode(f"{count} candidates of {models[name].family}", models[name], count, config, there)
            for name in _proposers(config, {stage.kind for stage in plan})
        ),
        _score(f"score with {teacher.family}", teacher, config, there),
        _score(f"score with {student.family}", student, config, there),
        _decode(f"decode with {student.family}", student, 1, config, there),
    ]
    return {step.name: step for step in steps}


def _proposers(config: Config, kinds: set[str]) -> tuple[str, ...]:
    """The roles whose N best some stage of a plan with such stages makes."""
    if "candidates" in kinds:
        return config.em.candidates_from
    return ("teacher",) if "n_best" in kinds else ()


def _train(
    name: str, model: ModelSpec, train: TrainConfig, config: Config, there: Slice, targets: int = 1
) -> Step:
    layout, width, accumulate = there.layout, config.data.max_length, train.accumulate
    require_rows_divide(layout, config.data.row_multiple, accumulate)
    data = config.data.with_batch(train.batch_tokens)
    rows = targets * bucket_rows(width * targets, data.batch_tokens, data.row_multiple)

    def lower():
        family = make_family(model) if targets == 1 else in_loss_family(model, targets, train.steps)
        ema = train.ema_decay is not None
        tx = make_optimizer(train.optim, train.steps, family.axes)
        shardings = state_shardings(family.axes, tx, layout, ema=ema)
        step = make_train_step(family.loss, tx, shardings, accumulate=accumulate, ema_decay=train.ema_decay)
        key = jax.eval_shape(lambda: jax.random.key(0))
        key = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=replicated(layout.mesh))
        batch = _batch(layout, rows, width, accumulate)
        with use_layout(layout):
            return step.lower(abstract_state(family, tx, shardings), batch, key)

    return Step(name, lower, rows, width, train.steps)


def _decode(name: str, model: ModelSpec, count: int, config: Config, there: Slice) -> Step:
    layout, width = there.layout, config.data.max_length
    rows = config.data.decode_rows * row_shares(layout)

    def lower():
        family = make_family(model)
        with use_layout(layout):
            step = make_decode_step(family, layout, count)
            return step.lower(abstract_params(family, layout), _batch(layout, rows, width))

    return Step(name, lower, rows, width, None)


def _score(name: str, model: ModelSpec, config: Config, there: Slice) -> Step:
    layout, width = there.layout, config.data.max_length
    rows = config.data.decode_rows * row_shares(layout)

    def lower():
        family = make_family(model)
        with use_layout(layout):
            step = make_score_step(family, layout)
            return step.lower(abstract_params(family, layout), _batch(layout, rows, width))

    targets = config.em.candidates * len(config.em.candidates_from) + config.select.include_reference
    return Step(name, lower, rows, width, None, targets)


def _batch(layout: Layout, rows: int, width: int, accumulate: int = 1) -> Batch:
    """An abstract batch of full rows."""
    sharding = batch_sharding(layout.mesh, stacked=accumulate > 1)
    stack = (accumulate,) if accumulate > 1 else ()

    def array(dtype, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((*stack, rows // accumulate, *shape), dtype, sharding=sharding)

    return Batch(array(jnp.int32, width), array(jnp.int32, width), array(jnp.float32), array(jnp.int32))


def step_costs(step: Step, there: Slice) -> dict[str, Any]:
    """Compiles a step; its memory against the chip's, its bounds, and what a second of the slice brings.

    The time is the tightest of four bounds (training/roofline.py). A search counts with its largest number
    of steps.
    """
    program, chip = compile_program(step.lower()), there.chip
    if program.peak_bytes is None:
        return {"fits": False, "refusal": program.refusal, "compile_seconds": program.seconds}
    found = costs(program.work, chip.flops, chip.hbm_bandwidth, chip.link_bandwidth)
    return {
        "fits": program.peak_bytes <= chip.hbm_bytes,
        "peak_bytes": program.peak_bytes,
        "chip_bytes": int(chip.hbm_bytes),
        "flops": found.flops,
        "hbm_bytes": found.bytes,
        "collectives": found.collectives,
        "link_bytes": found.link_bytes,
        "bounds_ms": {name: 1e3 * value for name, value in found.bounds.items()},
        "compute_share": found.bounds["compute"] / found.seconds,
        "largest_ms": {name: 1e3 * value for name, value in found.largest[:20]},
        "pairs_per_second": step.pairs / found.seconds,
        "target_tokens_per_second": step.pairs * step.width / found.seconds,
        "compile_seconds": program.seconds,
    }


def stage_hours(step: Step, figures: dict[str, Any], pairs: int | None, tokens: int) -> float | None:
    """How long the step's stage of round 0 takes at its bound; None where the corpus has no known size.

    A training takes its updates; the others pass once over `pairs` of `tokens` target tokens each.
    """
    if step.calls is not None:
        return step.calls * max(figures["bounds_ms"].values()) / 3.6e6
    if pairs is None:
        return None
    return pairs * step.targets * tokens / figures["target_tokens_per_second"] / 3600
