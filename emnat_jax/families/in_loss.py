"""The E-step inside the loss: K targets a source, weighed anew at every step (docs/method.md, section 6.7).

The method is DDRS (Shao et al. 2022). Rows come in groups of K with one source. A pass without gradient says
how likely the model finds each target; the loss of the family then weights each by its share. If that loss is
-log p(y | x), shares that are the posterior give the gradient of

    -log sum_k w_k p(y_k | x)

With label smoothing, glancing, masking or a loss of n-grams the same shares weight that loss instead.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from emnat_jax.families.objective import with_objective
from emnat_jax.families.parallel import LossFn, Parallel, plain_loss
from emnat_jax.families.target_lists import list_log_probs, repeat_rows
from emnat_jax.types import Batch, Key, Mean, Metrics, Params, Progress

SOFT = 2 / 3  # share of training from the mean to the log-sum-exp; the rest goes to the minimum (DDRS)


def in_loss_e_step(parts: Parallel, count: int, objective: str = "likelihood") -> LossFn:
    """`Family.loss` of batches whose rows are groups of `count` targets.

    The encoder sees each source once, the decoder too where its pass does not depend on the target: then
    the targets of a source share the dropout. `batch.weight` holds the targets' prior shares, 0 for none.
    Evaluation (key None) measures the family's loss of single targets.
    """
    alone = parts.make_loss(parts)
    loss_of_groups = _loss_of_groups(with_objective(parts, objective), count)

    def loss(params: Params, batch: Batch, key: Key | None, progress: Progress) -> tuple[jax.Array, Metrics]:
        if key is None:
            return alone(params, batch, None, progress)
        log_prob = _log_prob(parts, count, jax.lax.stop_gradient(params), batch)
        shares = batch.weight.reshape(-1, count)
        weight = responsibilities(log_prob, shares, jnp.asarray(progress, jnp.float32))
        value, metrics = loss_of_groups(params, batch.replace(weight=weight.reshape(-1)), key, progress)
        sources = jnp.sum(shares, axis=1)
        sharpness = Mean(jnp.sum(jnp.max(weight, axis=1)), jnp.sum(sources))
        return value, metrics | {"largest_share": sharpness}

    return loss


def _loss_of_groups(parts: Parallel, count: int) -> LossFn:
    """`Family.loss`, in training, of batches whose rows are groups of `count` targets."""
    if decodes_once(parts):
        return functools.partial(_one_pass_loss, parts, count)
    return parts.make_loss(parts._replace(encode=functools.partial(_encode_once, parts.encode, count)))


def decodes_once(parts: Parallel) -> bool:
    """Whether one pass of the decoder serves all targets of a source, in training."""
    return parts.predicts_from_source and parts.make_loss is plain_loss


def _one_pass_loss(
    parts: Parallel, count: int, params: Params, batch: Batch, key: Key | None, progress: Progress
) -> tuple[jax.Array, Metrics]:
    """`plain_loss` where one pass serves all targets of a source."""
    assert key is not None, "evaluation has single targets"
    encode_key, decode_key = jax.random.split(key)
    sources = _firsts(batch, count)
    memory = parts.encode(params, sources, encode_key)
    prediction = parts.predict(params, memory, sources, None, decode_key)
    groups = jax.tree.map(lambda leaf: leaf.reshape(-1, count, *leaf.shape[1:]), batch)
    of_each = jax.vmap(lambda target: parts.loss(prediction, target, None)[1], in_axes=1)(groups)
    metrics = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), of_each)
    return metrics["loss"].ratio(), metrics


def responsibilities(
    log_prob: Float[Array, "B K"], shares: Float[Array, "B K"], progress: Float[Array, ""]
) -> Float[Array, "B K"]:
    """Weight of each target: its share at `progress` 0, its posterior at 2/3, only the best at 1.

    The best has the largest posterior: the prior shares count to the end. The gradients of their losses are
    those of the mean, the log-sum-exp and the minimum (of the loss less the log of the share), and in
    between of their linear interpolation. Each source keeps the sum of its shares.
    """
    total = jnp.sum(shares, axis=1, keepdims=True)
    score = jnp.where(shares > 0, log_prob + jnp.log(jnp.where(shares > 0, shares, 1.0)), -jnp.inf)
    score = jnp.where(total > 0, score, 0.0)
    posterior = jax.nn.softmax(score, axis=1) * total
    best = jax.nn.one_hot(jnp.argmax(score, axis=1), shares.shape[1]) * total
    soft, hard = jnp.clip(progress / SOFT, 0, 1), jnp.clip((progress - SOFT) / (1 - SOFT), 0, 1)
    return (1 - hard) * ((1 - soft) * shares + soft * posterior) + hard * best


def _log_prob(parts: Parallel, count: int, params: Params, batch: Batch) -> Float[Array, "B K"]:
    """log p(target | source) of every target under the model as it is."""
    sources = _firsts(batch, count)
    lists = sources.replace(target=batch.target.reshape(sources.target.shape[0], -1))
    return jax.lax.stop_gradient(list_log_probs(parts, count, params, lists))


def _encode_once(encode: Callable, count: int, params: Params, batch: Batch, key: Key | None) -> Any:
    """The memory of the sources, computed for the first row of each group and given to all of it."""
    return repeat_rows(encode(params, _firsts(batch, count), key), count)


def _firsts(batch: Batch, count: int) -> Batch:
    """The first row of each group."""
    return jax.tree.map(lambda leaf: leaf[::count], batch)
