"""A family from outside the package: position-wise, trained with the focal loss (Lin et al., ICCV 2017, 3).

    emnat em --config=tests/families/outside_family.py --workdir=runs/focal

The whole of it is in this file: options, loss, decoders, the line of the table.
"""

import dataclasses
import functools
from typing import ClassVar

import jax.numpy as jnp

from emnat_jax.config import FAMILIES, FamilySpec, LengthOptions, to_config_dict
from emnat_jax.decoding import argmax_decode, odd_decode
from emnat_jax.families import vanilla
from emnat_jax.losses import token_log_probs
from emnat_jax.types import Mean

DECODERS = {"odd": odd_decode, "argmax": argmax_decode}


@dataclasses.dataclass(frozen=True)
class FocalOptions(LengthOptions):
    """Options of the length head, and of the loss and the decoder."""

    gamma: float = 1.0  # 0 is cross-entropy; the larger, the less tokens count that are likely already
    decoder: str = "odd"  # odd or argmax

    is_glanceable: ClassVar[bool] = True

    def decoders(self):
        return {name: dataclasses.replace(self, decoder=name) for name in DECODERS}


def make(spec, options: FocalOptions):
    """The network of `vanilla` with another loss."""
    return vanilla.length_family(spec, parts(spec, options), functools.partial(_decode, spec, options))


def parts(spec, options: FocalOptions):
    """Those of `vanilla` with another loss."""
    return vanilla.parts(spec, options)._replace(loss=functools.partial(_loss, options))


def _loss(options, prediction, batch, hidden):
    """Mean over tokens of -(1 - p)^gamma log p and a share of the length loss of the token's row.

    Total and weight of `loss` are sums over rows, so that a batch can be cut anywhere.
    """
    free = vanilla.free_positions(batch.target)
    counted = free if hidden is None else free & hidden
    weight = counted * batch.weight[:, None]
    token, length = (
        token_log_probs(prediction.tokens(), batch.target),
        token_log_probs(prediction.lengths, jnp.sum(batch.target != 0, axis=-1)),
    )
    of_row = jnp.maximum(jnp.sum(counted, axis=-1), 1) * batch.weight  # a row without a word counts as one
    focal = jnp.sum(-((1 - jnp.exp(token)) ** options.gamma) * token * weight)
    loss = Mean(focal - options.length_loss_weight * jnp.sum(length * of_row), jnp.sum(of_row))
    return loss.ratio(), {
        "loss": loss,
        "nll": Mean(-jnp.sum(token * weight), jnp.sum(weight)),
        "length_nll": Mean(-jnp.sum(length * batch.weight), jnp.sum(batch.weight)),
    }


def _decode(spec, options, params, source, key, num_candidates):
    trials = vanilla.length_trials(spec, params, source, max(num_candidates, options.length_candidates))
    tokens, log_prob = DECODERS[options.decoder](trials.predict(None), trials.lengths.reshape(-1))
    alpha = options.length_penalty
    return vanilla.best_of_lengths(trials, tokens, log_prob, log_prob, alpha=alpha, count=num_candidates)


SPEC = FamilySpec(FocalOptions, make, parts)


def get_config():
    FAMILIES["focal"] = SPEC
    config = to_config_dict()
    config.student.family = "focal"
    config.student.focal.gamma = 2.0
    return config
