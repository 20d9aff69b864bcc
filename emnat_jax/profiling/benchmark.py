"""Timings of training and decoding: compilation apart, warm-up left out, the device named."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from emnat_jax.config import ModelSpec, TrainConfig
from emnat_jax.families import make_family, parallel_parts
from emnat_jax.models.flops import training_flops
from emnat_jax.report.record import BatchTiming
from emnat_jax.runtime.mesh import Layout, to_global, use_layout
from emnat_jax.training.optimizer import make_optimizer
from emnat_jax.training.state import create_state, state_shardings
from emnat_jax.training.step import make_train_step
from emnat_jax.types import EOS, NUM_SPECIAL, Batch


class BatchShape(NamedTuple):
    """A batch without padding."""

    rows: int
    source: int  # tokens a row
    target: int


@dataclasses.dataclass(frozen=True)
class StepTiming:
    """One optimizer step: its time, its rate and the compiler's account of its memory."""

    compile_seconds: float
    median_ms: float
    p95_ms: float
    target_tokens_per_second: float
    model_flops_per_second: float
    temporary_bytes: int  # that the compiled step needs beside its inputs and outputs
    parameters: int


def measure_training(
    model: ModelSpec, train: TrainConfig, layout: Layout, shape: BatchShape, repeats: int
) -> StepTiming:
    """One optimizer step on random tokens, timed `repeats` times after one that does not count."""
    family = make_family(model)
    tx = make_optimizer(train.optim, train.steps, family.axes)
    ema = train.ema_decay is not None
    shardings = state_shardings(family.axes, tx, layout, ema=ema)
    train_step: Any = make_train_step(family.loss, tx, shardings, accumulate=1, ema_decay=train.ema_decay)
    key = jax.random.key(0)
    with use_layout(layout):
        batch = to_global(layout, random_batch(model, shape))
        state = jax.jit(lambda key: create_state(family, tx, key, ema=ema), out_shardings=shardings)(key)
        begin = time.perf_counter()
        compiled = train_step.lower(state, batch, key).compile()
        compile_seconds = time.perf_counter() - begin
        memory = compiled.memory_analysis()
        seconds = []
        for _ in range(repeats + 1):
            begin = time.perf_counter()
            state, _ = jax.block_until_ready(compiled(state, batch, key))
            seconds.append(time.perf_counter() - begin)
    median_ms, p95_ms = median_and_p95(seconds[1:])
    return StepTiming(
        compile_seconds=compile_seconds,
        median_ms=median_ms,
        p95_ms=p95_ms,
        target_tokens_per_second=shape.rows * shape.target / median_ms * 1e3,
        model_flops_per_second=training_flops(model, *shape) / median_ms * 1e3,
        temporary_bytes=int(memory.temp_size_in_bytes),
        parameters=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    )


def measure_loss(model: ModelSpec, shape: BatchShape, repeats: int) -> float | None:
    """Median milliseconds of what a step of a parallel family does behind its network: loss and gradient.

    That is the softmax over the vocabulary and, for `ctc` and `dag`, the dynamic program. None for a family
    that is not parallel.
    """
    parts = parallel_parts(model)
    if parts is None:
        return None
    batch = jax.device_put(random_batch(model, shape))
    params = jax.jit(make_family(model).init)(jax.random.key(0))
    leaves, tree = jax.tree.flatten(
        jax.jit(lambda params: parts.predict(params, parts.encode(params, batch, None), batch, None, None))(
            params
        )
    )
    real = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]

    def loss(reals: list[jax.Array]) -> jax.Array:
        given = iter(reals)
        mixed = [next(given) if is_real else leaf for is_real, leaf in zip(real, leaves)]
        return parts.loss(jax.tree.unflatten(tree, mixed), batch, None)[0]

    reals = [leaf for is_real, leaf in zip(real, leaves) if is_real]
    gradient = jax.jit(jax.value_and_grad(loss))
    seconds = [_seconds(lambda: jax.block_until_ready(gradient(reals))) for _ in range(repeats + 1)]
    return median_and_p95(seconds[1:])[0]


def random_batch(model: ModelSpec, shape: BatchShape) -> Batch:
    """Full rows of random words, each with EOS at its end."""
    random = np.random.default_rng(0)

    def sentences(length: int) -> np.ndarray:
        tokens = random.integers(NUM_SPECIAL, model.transformer.vocab_size, (shape.rows, length)).astype(
            np.int32
        )
        tokens[:, -1] = EOS
        return tokens

    row = np.arange(shape.rows, dtype=np.int32)
    return Batch(sentences(shape.source), sentences(shape.target), np.ones(shape.rows, np.float32), row)


def measure_latency(
    translators: Mapping[int, Callable[[Sequence[str]], list[str]]], lines: Sequence[str]
) -> tuple[BatchTiming, ...]:
    """Time from raw lines to raw translations, for each batch size and the function that translates so many.

    Every line is translated once unmeasured before. Segmentation, length prediction, search, rescoring
    and detokenisation are inside the time.
    """
    timings = []
    for size, translate in translators.items():
        groups = [lines[i : i + size] for i in range(0, len(lines), size)]
        warm = [_seconds(translate, group) for group in groups]
        seconds = [_seconds(translate, group) for group in groups]
        timings.append(BatchTiming(size, *median_and_p95(seconds), len(lines) / sum(seconds), sum(warm)))
    return tuple(timings)


def median_and_p95(seconds: Sequence[float]) -> tuple[float, float]:
    """Median and 95th percentile of a call, in milliseconds."""
    return 1e3 * float(np.median(seconds)), 1e3 * float(np.percentile(seconds, 95))


def _seconds(function: Callable, *arguments: Any) -> float:
    begin = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - begin
