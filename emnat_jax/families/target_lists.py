"""Several targets of a source side by side: the network sees the source once for all of them."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from emnat_jax.families.parallel import Parallel
from emnat_jax.types import Batch, Params


def list_log_probs(parts: Parallel, count: int, params: Params, batch: Batch) -> Float[Array, "B K"]:
    """log p(target | source) in nats of each of `count` targets of every source, without dropout.

    `batch.target` i32[B, K * T] holds the targets of a source one after the other, each padded to T.
    """
    targets = batch.target.reshape(batch.target.shape[0], count, -1)
    memory = parts.encode(params, batch, None)
    if parts.predicts_from_source:
        prediction = parts.predict(params, memory, batch, None, None)
        of_each = jax.vmap(functools.partial(parts.log_prob, prediction), in_axes=1, out_axes=1)
        return of_each(targets)
    rows = repeat_rows(batch, count).replace(target=targets.reshape(-1, targets.shape[-1]))
    prediction = parts.predict(params, repeat_rows(memory, count), rows, None, None)
    return parts.log_prob(prediction, rows.target).reshape(-1, count)


def repeat_rows(tree: Any, count: int) -> Any:
    """Each row `count` times in a row."""
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, count, axis=0), tree)
