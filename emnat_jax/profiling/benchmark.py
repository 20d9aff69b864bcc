"""Timings of training and decoding: compilation apart, warm-up left out, the device named."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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


def environment() -> dict[str, Any]:
    """What a timing depends on besides the code."""
    device = jax.devices()[0]
    return {"device": device.device_kind, "devices": jax.device_count(), "jax": jax.__version__}


def measure_training(
    model: ModelSpec,
    train: TrainConfig,
    layout: Layout,
    *,
    rows: int,
    source: int,
    target: int,
    repeats: int,
) -> dict[str, Any]:
    """One update on `rows` x (`source` + `target`) random tokens: its time, rate and the compiler's memory.

    `temporary_bytes` is what the compiled update needs beside its inputs and outputs.
    """
    family = make_family(model)
    tx = make_optimizer(train.optim, train.steps, family.axes)
    ema = train.ema_decay is not None
    shardings = state_shardings(family.axes, tx, layout, ema=ema)
    update = make_train_step(family.loss, tx, shardings, accumulate=1, ema_decay=train.ema_decay)
    key = jax.random.key(0)
    with use_layout(layout):
        batch = to_global(layout, random_batch(model, rows, source, target))
        state = jax.jit(lambda key: create_state(family, tx, key, ema=ema), out_shardings=shardings)(key)
        begin = time.perf_counter()
        compiled = update.lower(state, batch, key).compile()
        compile_seconds = time.perf_counter() - begin
        memory = compiled.memory_analysis()
        seconds = []
        for _ in range(repeats + 1):
            begin = time.perf_counter()
            state, _ = jax.block_until_ready(compiled(state, batch, key))
            seconds.append(time.perf_counter() - begin)
    figures = {"compile_seconds": compile_seconds} | median_and_p95(seconds[1:])
    median = figures["median_ms"] / 1e3
    return figures | {
        "target_tokens_per_second": rows * target / median,
        "model_flops_per_second": training_flops(model, rows, source, target) / median,
        "temporary_bytes": int(memory.temp_size_in_bytes),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    }


def measure_loss(
    model: ModelSpec, *, rows: int, source: int, target: int, repeats: int
) -> dict[str, float]:
    """Time of what a parallel family's update does behind its network: the loss and its gradient.

    That is the softmax over the vocabulary and, for `ctc` and `dag`, the dynamic program.
    """
    parts = parallel_parts(model)
    if parts is None:
        return {}
    batch = jax.device_put(random_batch(model, rows, source, target))
    params = jax.jit(make_family(model).init)(jax.random.key(0))
    leaves, tree = jax.tree.flatten(
        jax.jit(lambda params: parts.predict(params, parts.encode(params, batch, None), batch, None, None))(
            params
        )
    )
    real = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]

    def loss(reals):
        given = iter(reals)
        mixed = [next(given) if is_real else leaf for is_real, leaf in zip(real, leaves)]
        return parts.loss(jax.tree.unflatten(tree, mixed), batch, None)[0]

    reals = [leaf for is_real, leaf in zip(real, leaves) if is_real]
    gradient = jax.jit(jax.value_and_grad(loss))
    seconds = [_seconds(lambda: jax.block_until_ready(gradient(reals))) for _ in range(repeats + 1)]
    return {"loss_alone_ms": median_and_p95(seconds[1:])["median_ms"]}


def random_batch(model: ModelSpec, rows: int, source: int, target: int) -> Batch:
    """Full rows of random words, each with EOS at its end."""
    random = np.random.default_rng(0)

    def sentences(length: int) -> np.ndarray:
        tokens = random.integers(NUM_SPECIAL, model.transformer.vocab_size, (rows, length)).astype(np.int32)
        tokens[:, -1] = EOS
        return tokens

    row = np.arange(rows, dtype=np.int32)
    return Batch(sentences(source), sentences(target), np.ones(rows, np.float32), row)


def measure_latency(
    translators: Mapping[int, Callable[[Sequence[str]], list[str]]], lines: Sequence[str]
) -> dict[str, Any]:
    """Time from raw lines to raw translations, for each batch size and the function that translates so many.

    Every line is translated once unmeasured before. Segmentation, length prediction, search, rescoring
    and detokenisation are inside the time.
    """
    figures = {}
    for size, translate in translators.items():
        groups = [lines[i : i + size] for i in range(0, len(lines), size)]
        warm = [_seconds(translate, group) for group in groups]
        seconds = [_seconds(translate, group) for group in groups]
        figures[f"batch_{size}"] = median_and_p95(seconds) | {
            "sentences_per_second": len(lines) / sum(seconds),
            "first_pass_seconds": sum(warm),
        }
    return figures


def median_and_p95(seconds: Sequence[float]) -> dict[str, float]:
    """Median and 95th percentile of a call, in milliseconds."""
    return {
        "median_ms": 1e3 * float(np.median(seconds)),
        "p95_ms": 1e3 * float(np.percentile(seconds, 95)),
    }


def _seconds(function: Callable, *arguments) -> float:
    begin = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - begin
