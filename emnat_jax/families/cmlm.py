"""Conditional masked language model (Ghazvininejad et al., EMNLP 2019): `vanilla` that also sees some tokens.

Network, length head and score are those of `vanilla`; the score is that of the fully masked pass, a
normalised model of p(y | x). Mask-predict's outputs are no samples of any tractable model.
"""

import functools

import jax
import jax.numpy as jnp

from emnat_jax.config import CMLMOptions, TransformerSpec
from emnat_jax.decoding.mask_predict import mask_predict
from emnat_jax.families import vanilla
from emnat_jax.families.base import Family, Redraft
from emnat_jax.families.parallel import Parallel, plain_loss
from emnat_jax.losses.glance import random_subset, uniform_count
from emnat_jax.types import (
    HIDDEN,
    Array,
    Batch,
    Hypotheses,
    Key,
    Metrics,
    Params,
    Progress,
)


def make(spec: TransformerSpec, options: CMLMOptions) -> Family:
    """The network of `vanilla` with another loss and another decoder."""
    return vanilla.length_family(spec, parts(spec, options), functools.partial(_decode, spec, options))


def parts(spec: TransformerSpec, options: CMLMOptions) -> Parallel:
    """The parts of `vanilla`; training also reveals some target tokens."""
    return vanilla.parts(spec, options)._replace(make_loss=lambda parts: functools.partial(_loss, parts))


def make_redraft(spec: TransformerSpec, options: CMLMOptions) -> Redraft:
    """Drafts by the pass that mask-predict repeats; all behind the beginning is masked."""
    return functools.partial(vanilla.redraft, spec, options)


def _loss(
    parts: Parallel, params: Params, batch: Batch, key: Key | None, progress: Progress
) -> tuple[Array, Metrics]:
    """Loss of n masked tokens given the others, n uniform from 1 to all; all of them in evaluation."""
    if key is None:
        return plain_loss(parts)(params, batch, None, progress)
    encode_key, decode_key, count_key, mask_key = jax.random.split(key, 4)
    free = vanilla.free_positions(batch.target)
    count = uniform_count(count_key, jnp.sum(free, axis=-1))
    hidden = random_subset(mask_key, free, count)
    revealed = jnp.where(free & ~hidden, batch.target, HIDDEN)
    memory = parts.encode(params, batch, encode_key)
    return parts.loss(parts.predict(params, memory, batch, revealed, decode_key), batch, hidden)


def _decode(
    spec: TransformerSpec, options: CMLMOptions, params: Params, source: Array, key: Key, num_candidates: int
) -> Hypotheses:
    """Mask-predict for each of n lengths around the most likely one, best first by confidence.

    `log_prob` is that of the fully masked pass. `key` is not used.
    """
    del key
    trials = vanilla.length_trials(spec, params, source, max(num_candidates, options.length_candidates))
    found = mask_predict(trials.predict, trials.lengths.reshape(-1), trials.width, options.iterations)
    alpha = options.length_penalty
    return vanilla.best_of_lengths(
        trials, found.tokens, found.log_prob, found.confidence, alpha=alpha, count=num_candidates
    )
