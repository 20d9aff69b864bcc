"""What a student chose between: the most probable tokens at each position of its own output."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from emnat_jax.data.batches import sequential_batches
from emnat_jax.data.pairs import Pairs, numbered
from emnat_jax.families.parallel import Parallel
from emnat_jax.inference.batching import each_batch
from emnat_jax.runtime.mesh import Layout, batch_sharding, own_rows
from emnat_jax.runtime.processes import Processes
from emnat_jax.types import BLANK, HIDDEN, Batch, Params


class Alternatives(NamedTuple):
    """One pass over the L decoder positions of each sentence, with nothing revealed.

    The output lies on the positions along its most probable alignment: of `vanilla` and `cmlm` one a token, of
    `ctc` the frames with their blanks, of `dag` the vertices of the path.
    """

    taken: jax.Array  # i32[B, L]; HIDDEN where the output has nothing
    taken_log_prob: jax.Array  # f32[B, L]; nats
    tokens: jax.Array  # i32[B, L, N]; the N most probable, best first
    log_prob: jax.Array  # f32[B, L, N]


def make_alternatives_step(parts: Parallel, layout: Layout, count: int):
    """Compiled (params, batch of sources and outputs) -> Alternatives with N = `count`."""

    def step(params: Params, batch: Batch) -> Alternatives:
        prediction = parts.predict(params, parts.encode(params, batch, None), batch, None, None)
        log_probs = jax.nn.log_softmax(parts.logits(prediction))
        taken = parts.reference(prediction, batch)
        own = jnp.take_along_axis(log_probs, jnp.maximum(taken, 0)[..., None], axis=-1)[..., 0]
        log_prob, tokens = jax.lax.top_k(log_probs, count)
        return Alternatives(taken, own, tokens, log_prob)

    rows = batch_sharding(layout.mesh)
    return jax.jit(step, in_shardings=(None, rows), out_shardings=rows)


def alternatives_of(
    step, params: Params, pairs: Pairs, *, width: int, layout: Layout, processes: Processes
) -> list[Alternatives]:
    """Those of each pair, in the order of the data set; of the sentences of one width, in tokens, or less.

    All processes call it together, each with its own pairs, or with none.
    """
    found: list[Any] = [None] * pairs.size
    batches = sequential_batches(numbered(pairs), (width,), own_rows(layout, 8))
    for batch, result in each_batch(
        functools.partial(step, params), batches, layout=layout, processes=processes
    ):
        for index, row in enumerate(batch.row.tolist()):
            if row >= 0:
                found[row] = Alternatives(*(np.asarray(part[index]) for part in result))
    return found


def as_json(found: Alternatives, pieces: Sequence[str]) -> list[dict[str, Any]]:
    """The positions that hold a part of the output; `pieces` is the text of each token."""

    def piece(token: np.integer) -> str:
        return "blank" if token == BLANK else pieces[token] if token < len(pieces) else f"#{token}"

    return [
        {
            "position": place,
            "taken": piece(found.taken[place]),
            "probability": round(float(np.exp(found.taken_log_prob[place])), 4),
            "likely": [
                [piece(token), round(float(np.exp(log_prob)), 4)]
                for token, log_prob in zip(found.tokens[place], found.log_prob[place], strict=True)
            ],
        }
        for place in np.flatnonzero(found.taken != HIDDEN).tolist()
    ]
