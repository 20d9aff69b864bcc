"""The parts of a family that predicts all positions at once; training can recombine them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from emnat_jax.families.base import Family
from emnat_jax.families.parameters import init_and_axes
from emnat_jax.types import PAD, Batch, Hypotheses, Key, Mean, Metrics, Params, Progress, is_impossible

Memory = Any  # the encoder's output
Prediction = Any  # the decoder's output for all positions
LossFn = Callable[[Params, Batch, Key | None, Progress], tuple[jax.Array, Metrics]]  # as Family.loss


def plain_loss(parts: "Parallel") -> LossFn:
    """`Family.loss` of one pass to which nothing is revealed."""

    def loss(params: Params, batch: Batch, key: Key | None, progress: Progress) -> tuple[jax.Array, Metrics]:
        encode_key, decode_key = (None, None) if key is None else jax.random.split(key)
        memory = parts.encode(params, batch, encode_key)
        return parts.loss(parts.predict(params, memory, batch, None, decode_key), batch, None)

    return loss


class Parallel(NamedTuple):
    """Encoder, one parallel pass, readings of its result. L: decoder positions (tokens, frames or vertices).

    - `encode(params, batch, key)`: the memory of the sources.
    - `predict(params, memory, batch, revealed, key)`: one pass; `revealed` i32[B, L] holds tokens that
      the decoder is shown, HIDDEN elsewhere, or is None.
    - `reference(prediction, batch)`: i32[B, L], the target laid on the positions along its most
      probable alignment; HIDDEN where it has no token to show.
    - `logits(prediction)`: f32[B, L, V], masked logits of the token at each position.
    - `log_prob(prediction, target)`: f32[B], nats; like `Family.score`, computed from a prediction.
    - `loss(prediction, batch, hidden)`: like `Family.loss`, computed from a prediction.
      A family with a loss for each position counts only those where `hidden` bool[B, L] is True
      (None: all); one with a loss for the whole target has no use for it.
    - `ngram_loss(prediction, batch, hidden)`: the same for the n-grams of the outputs; None of a family that
      has no such loss (`FamilyOptions.objectives`).
    - `make_loss(parts)`: `Family.loss` built from these or substituted parts.
    - `predicts_from_source`: whether `predict` looks at the memory and `revealed` alone, so that one pass
      serves all targets of a source. False where positions are those of the target.
    """

    encode: Callable[[Params, Batch, Key | None], Memory]
    predict: Callable[[Params, Memory, Batch, jax.Array | None, Key | None], Prediction]
    reference: Callable[[Prediction, Batch], jax.Array]
    logits: Callable[[Prediction], jax.Array]
    log_prob: Callable[[Prediction, jax.Array], jax.Array]
    loss: Callable[[Prediction, Batch, jax.Array | None], tuple[jax.Array, Metrics]]
    ngram_loss: Callable[[Prediction, Batch, jax.Array | None], tuple[jax.Array, Metrics]] | None = None
    make_loss: Callable[[Any], LossFn] = plain_loss  # of a Parallel
    predicts_from_source: bool = False


def parallel_family(
    module: nn.Module, inputs: tuple, parts: Parallel, decode: Callable[..., Hypotheses]
) -> Family:
    """The family of one pass; `inputs` are small abstract arguments that `module` is initialised with."""
    init, axes = init_and_axes(module, *inputs, method="__call__")

    def score(params: Params, batch: Batch) -> Float[Array, " B"]:
        memory = parts.encode(params, batch, None)
        return parts.log_prob(parts.predict(params, memory, batch, None, None), batch.target)

    return Family(init, axes, parts.make_loss(parts), score, decode)


def marginal_loss(log_prob: Float[Array, " B"], batch: Batch) -> tuple[jax.Array, Metrics]:
    """Mean over target tokens of -log p(target | source), summed over alignments or paths.

    A target that the source leaves no room for has probability 0 (log_prob NEG_INF): it is left out, and
    counted as `unreachable`.
    """
    reachable = ~is_impossible(log_prob)
    weight = batch.weight * reachable
    tokens = jnp.sum(jnp.sum(batch.target != PAD, axis=-1) * weight)
    nll = Mean(jnp.sum(jnp.where(reachable, -log_prob, 0.0) * weight), tokens)
    unreachable = Mean(jnp.sum(batch.weight - weight), jnp.sum(batch.weight))
    metrics = {"loss": nll, "nll": nll, "unreachable": unreachable}
    return nll.ratio(), metrics
