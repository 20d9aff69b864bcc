"""Training of a parallel family for the n-grams of its outputs (docs/method.md, section 9.8)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from emnat_jax.families.parallel import LossFn, Parallel
from emnat_jax.losses.bigrams import Bigrams
from emnat_jax.types import PAD, Batch, Key, Mean, Metrics, Params, Progress


def with_objective(parts: Parallel, objective: str) -> Parallel:
    """The parts with the loss of a TrainConfig.objective; all else stays, glancing too."""
    if objective == "likelihood":
        return parts
    assert parts.ngram_loss is not None, "the configuration refuses it for a family without"
    return parts._replace(loss=parts.ngram_loss)


def objective_loss(parts: Parallel, objective: str) -> LossFn:
    """`Family.loss` that trains for this objective; evaluation (key None) measures the family's own."""
    changed = with_objective(parts, objective)
    training, evaluation = changed.make_loss(changed), parts.make_loss(parts)

    def loss(params: Params, batch: Batch, key: Key | None, progress: Progress) -> tuple[jax.Array, Metrics]:
        return (evaluation if key is None else training)(params, batch, key, progress)

    return loss


def bigram_loss(
    quality: Float[Array, " B"], bigrams: Bigrams, batch: Batch
) -> tuple[Float[Array, ""], Metrics]:
    """Mean over target tokens of 1 - the quality of their sentence, which is from 0 to 1.

    The metrics have the precision and the recall of the bigrams of all sentences too.
    """
    weight = batch.weight * jnp.sum(batch.target != PAD, axis=-1)
    loss = Mean(jnp.sum((1 - quality) * weight), jnp.sum(weight))
    matched = jnp.sum(bigrams.matched * batch.weight)
    metrics = {
        "loss": loss,
        "bigram_precision": Mean(matched, jnp.sum(bigrams.expected * batch.weight)),
        "bigram_recall": Mean(matched, jnp.sum(bigrams.wanted * batch.weight)),
    }
    return loss.ratio(), metrics
