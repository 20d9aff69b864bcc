"""The compiled training step and the compiled evaluation of one batch.

Call both inside `mesh.use_layout`, so that sharding constraints inside the model know the layout.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from emnat_jax.runtime.mesh import batch_sharding, replicated
from emnat_jax.training.state import TrainState
from emnat_jax.types import Batch, Key, Mean, Metrics, Params, Progress

LossFn = Callable[[Params, Batch, Key | None, Progress], tuple[jax.Array, Metrics]]
TrainStep = Callable[[TrainState, Batch, Key], tuple[TrainState, Metrics]]
EvalStep = Callable[[Params, Batch], Metrics]


def make_train_step(
    loss: LossFn,
    tx: optax.GradientTransformation,
    shardings: TrainState,
    *,
    accumulate: int,
    ema_decay: float | None,
    steps: int | None = None,
) -> TrainStep:
    """Compiled (state, batch, key) -> (state, metrics). The state is donated.

    `steps` are those of the whole training, of which the loss is told the share that is done; None: it is
    told 0, as of the first step.
    With `accumulate` > 1 the leaves of the batch have an axis of that many micro-batches in front.
    The metrics are the loss function's, `grad_norm` (of the whole gradient, before clipping) and
    `param_norm` (after the step); a norm is not finite as soon as one element is not.
    """
    grad_fn = jax.value_and_grad(loss, has_aux=True)

    def train_step(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        step_key = jax.random.fold_in(key, state.step)
        progress = jnp.zeros(()) if steps is None else state.step / steps
        if accumulate == 1:
            (_, metrics), grads = grad_fn(state.params, batch, step_key, progress)
        else:
            grads, metrics = _accumulate(grad_fn, state.params, batch, step_key, progress)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = None if ema_decay is None else _average(state.ema, params, ema_decay, state.step)
        norms = {"grad_norm": optax.tree.norm(grads), "param_norm": optax.tree.norm(params)}
        metrics = metrics | {name: Mean(norm, jnp.ones(())) for name, norm in norms.items()}
        return TrainState(state.step + 1, params, opt_state, ema), metrics

    mesh = shardings.step.mesh
    inputs = (shardings, batch_sharding(mesh, stacked=accumulate > 1), replicated(mesh))
    outputs = (shardings, replicated(mesh))
    return jax.jit(train_step, in_shardings=inputs, out_shardings=outputs, donate_argnums=0)


def make_eval_step(loss: LossFn, shardings: TrainState) -> EvalStep:
    """Compiled (params, batch) -> metrics, without dropout or anything else that is random."""

    def eval_step(params: Params, batch: Batch) -> Metrics:
        return loss(params, batch, None, jnp.zeros(()))[1]

    mesh = shardings.step.mesh
    inputs = (shardings.params, batch_sharding(mesh))
    return jax.jit(eval_step, in_shardings=inputs, out_shardings=replicated(mesh))


def _accumulate(
    grad_fn: Callable, params: Params, batch: Batch, key: Key, progress: jax.Array
) -> tuple[Params, Metrics]:
    """Gradient and metrics of the batch that the stacked micro-batches make up together.

    Each micro-batch counts by the weight of its loss, as it would inside one large batch.
    """

    def one(index: jax.Array, micro: Batch) -> tuple[Params, Metrics]:
        micro_key = jax.random.fold_in(key, index)
        (_, metrics), grads = grad_fn(params, micro, micro_key, progress)
        return jax.tree.map(lambda grad: grad * metrics["loss"].weight, grads), metrics

    def add(total: Any, indexed: tuple[jax.Array, Batch]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, one(*indexed)), None

    indexed = (jnp.arange(batch.weight.shape[0]), batch)
    shapes = jax.eval_shape(one, *jax.tree.map(lambda leaf: leaf[0], indexed))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    (grads, metrics), _ = jax.lax.scan(add, zeros, indexed)
    weight = metrics["loss"].weight
    return jax.tree.map(lambda grad: Mean(grad, weight).ratio(), grads), metrics


def _average(ema: Params, params: Params, decay: float, step: jax.Array) -> Params:
    """The moving average after this step; a young average forgets faster, so that it follows at once."""
    keep = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda old, new: keep * old + (1.0 - keep) * new, ema, params)
