"""A variant of a family: `vanilla` with a confidence penalty (Pereyra et al., ICLR Workshop 2017).

emnat em --config=tests/families/outside_variant.py --workdir=runs/penalised
"""

import dataclasses

import jax
import jax.numpy as jnp

from emnat_jax.config import FAMILIES, VanillaOptions, to_config_dict
from emnat_jax.families import vanilla
from emnat_jax.types import Mean


@dataclasses.dataclass(frozen=True)
class PenalisedOptions(VanillaOptions):
    """The options of `vanilla` and one more; they stand under student.penalised."""

    penalty: float = 0.1  # taken off the loss for each nat of entropy


def parts(spec, options: PenalisedOptions):
    """The parts of `vanilla`, of which the loss is another one."""
    base = vanilla.parts(spec, options)

    def loss(prediction, batch, hidden):
        _, metrics = base.loss(prediction, batch, hidden)
        free = vanilla.free_positions(batch.target)
        weight = (free if hidden is None else free & hidden) * batch.weight[:, None]
        log_probs = jax.nn.log_softmax(prediction.tokens().astype(jnp.float32))
        entropy = Mean(-jnp.sum(jnp.sum(jnp.exp(log_probs) * log_probs, -1) * weight), jnp.sum(weight))
        likelihood = metrics["loss"]
        total = Mean(likelihood.total - options.penalty * entropy.total, likelihood.weight)
        return total.ratio(), metrics | {"loss": total, "entropy": entropy}

    return base._replace(loss=loss)


def make(spec, options: PenalisedOptions):
    """The family `vanilla`, of which the loss is another one."""
    changed = parts(spec, options)
    return vanilla.make(spec, options)._replace(loss=changed.make_loss(changed))


def get_config():
    FAMILIES["penalised"] = FAMILIES["vanilla"]._replace(options=PenalisedOptions, make=make, parallel=parts)
    config = to_config_dict()
    config.student.family = "penalised"
    config.student.penalised.penalty = 0.2
    return config
