"""Timings of training: compilation apart, warm-up left out, steps without a wait between them."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from emnat_jax.config import ModelSpec, TrainConfig
from emnat_jax.families import make_family, parallel_parts
from emnat_jax.models.flops import training_flops
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
    mean_ms: float  # of a step among others, without a wait between them
    target_tokens_per_second: float
    model_flops_per_second: float
    temporary_bytes: int  # that the compiled step needs beside its inputs and outputs
    parameters: int


class ReadyStep(NamedTuple):
    """A compiled optimizer step with all that it takes."""

    run: Callable[[], Any]  # makes the next one and returns what it gives, perhaps before that is there
    compiled: Any
    compile_seconds: float
    parameters: int
    rows: int  # of the batches of all processes together


def ready_step(model: ModelSpec, train: TrainConfig, layout: Layout, shape: BatchShape) -> ReadyStep:
    """The step of a training, on random tokens; `shape` is that of this process's rows."""
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
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))

    def run() -> Any:
        nonlocal state
        with use_layout(layout):
            state, metrics = compiled(state, batch, key)
        return state, metrics

    return ReadyStep(run, compiled, compile_seconds, parameters, len(batch.weight))


def measure_training(
    model: ModelSpec, train: TrainConfig, layout: Layout, shape: BatchShape, repeats: int
) -> StepTiming:
    """`repeats` optimizer steps on random tokens, one after the other, after one that does not count."""
    step = ready_step(model, train, layout, shape)
    mean_ms = _mean_ms(step.run, repeats)
    return StepTiming(
        compile_seconds=step.compile_seconds,
        mean_ms=mean_ms,
        target_tokens_per_second=step.rows * shape.target / mean_ms * 1e3,
        model_flops_per_second=training_flops(model, step.rows, shape.source, shape.target) / mean_ms * 1e3,
        temporary_bytes=int(step.compiled.memory_analysis().temp_size_in_bytes),
        parameters=step.parameters,
    )


def measure_loss(model: ModelSpec, shape: BatchShape, repeats: int) -> float | None:
    """Mean milliseconds of what a step of a parallel family does behind its network: loss and gradient.

    That is the softmax over the vocabulary and, for `ctc` and `dag`, the dynamic program; for the others,
    whose loss never keeps the logits, the products of the output layer too. None for a family that is not
    parallel.
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
    return _mean_ms(lambda: gradient(reals), repeats)


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


def _mean_ms(run: Callable[[], Any], repeats: int) -> float:
    """Milliseconds of a run, the mean of `repeats` that follow one another without a wait, as in training.

    One more goes before and does not count. A wait after each would charge it the way from the device to the
    host, which a training goes once in a while.
    """
    jax.block_until_ready(run())
    begin = time.perf_counter()
    for _ in range(repeats):
        last = run()
    jax.block_until_ready(last)
    return (time.perf_counter() - begin) / repeats * 1e3
