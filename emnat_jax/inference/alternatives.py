"""What a student chose between: the most probable tokens at each position of its own output."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from emnat_jax.data.batches import sequential_batches
from emnat_jax.data.pairs import Pairs, numbered
from emnat_jax.families.parallel import Parallel
from emnat_jax.inference.batching import Machine, RowSizes, each_batch
from emnat_jax.runtime.mesh import Layout, batch_sharding
from emnat_jax.types import BLANK, HIDDEN, Array, Batch, Params

ROWS = 8  # of a batch at most: few sentences are looked at
COUNT = 3  # most probable tokens that are shown of a position, unless asked for more


class Alternatives(NamedTuple):
    """One pass over the L decoder positions of each sentence, with nothing revealed.

    The output lies on the positions along its most probable alignment: of `vanilla` and `cmlm` one position a
    token, of `ctc` the frames with their blanks, of `dag` the vertices of the path. (Of one sentence: without
    B.)
    """

    taken: Array  # i32[B, L]; HIDDEN where the output has nothing
    taken_log_prob: Array  # f32[B, L]; nats
    tokens: Array  # i32[B, L, N]; the N most probable, best first
    log_prob: Array  # f32[B, L, N]


class Choice(NamedTuple):
    """What the model chose at one decoder position, and what was most probable there."""

    position: int  # from 0; frames of ctc, vertices of dag
    taken: str  # the token of the output; "blank" where a frame of ctc says nothing
    probability: float  # of `taken`, from 0 to 1
    likely: list[tuple[str, float]]  # the most probable tokens with their probabilities, best first


AlternativesStep = Callable[[Params, Batch], Alternatives]


def alternatives_of(
    step: AlternativesStep, params: Params, pairs: Pairs, width: int, machine: Machine
) -> list[Alternatives]:
    """The alternatives of each pair, in data-set order, for sentences of at most `width` tokens.

    All processes call it together, each with its own pairs, or with none.
    """
    rows = machine.rows(step, params, RowSizes(most=ROWS))
    batches = sequential_batches(numbered(pairs), (width,), rows)
    found: dict[int, Alternatives] = {}
    for batch, result in each_batch(functools.partial(step, params), batches, machine):
        found |= {row: _row(result, index) for index, row in enumerate(batch.row.tolist()) if row >= 0}
    return [found[index] for index in range(pairs.size)]


def _row(result: Alternatives, index: int) -> Alternatives:
    return Alternatives(*(np.asarray(part[index]) for part in result))


def make_alternatives_step(parts: Parallel, layout: Layout, count: int) -> AlternativesStep:
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


def choices(found: Alternatives, pieces: Sequence[str]) -> list[Choice]:
    """The positions of one sentence that hold a part of its output; `pieces` is the text of each token."""

    def piece(token: int) -> str:
        return "blank" if token == BLANK else pieces[token] if token < len(pieces) else f"#{token}"

    def choice(position: int) -> Choice:
        tokens, log_prob = found.tokens[position].tolist(), found.log_prob[position]
        return Choice(
            position,
            taken=piece(int(found.taken[position])),
            probability=float(np.exp(found.taken_log_prob[position])),
            likely=list(zip(map(piece, tokens), np.exp(log_prob).tolist(), strict=True)),
        )

    return [choice(position) for position in np.flatnonzero(found.taken != HIDDEN).tolist()]
