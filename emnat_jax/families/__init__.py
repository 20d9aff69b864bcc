"""The table of families: a model of p(target | source) by name."""

import functools

from emnat_jax.config import ModelConfig
from emnat_jax.errors import UserError, require
from emnat_jax.families import ar, cmlm, ctc, dag, glat, vanilla
from emnat_jax.families.base import Family
from emnat_jax.families.in_loss import in_loss_e_step
from emnat_jax.families.parallel import Parallel, plain_loss

MODULES = {"ar": ar, "vanilla": vanilla, "cmlm": cmlm, "glat": glat, "ctc": ctc, "dag": dag}
FAMILIES = {name: module.make for name, module in MODULES.items()}


def with_decoder(config: ModelConfig, name: str) -> ModelConfig:
    """The configuration with another of its family's decoders; UserError for one it does not have."""
    known = MODULES[config.decodes_as].DECODERS
    if name not in known:
        raise UserError(f"decoder {name!r}: the family {config.decodes_as} has {', '.join(known)}.")
    return known[name](config)


def parallel_parts(config: ModelConfig) -> Parallel | None:
    """The parts of a family with one pass over all positions; None of one that goes step by step."""
    parts = getattr(MODULES[config.decodes_as], "parts", None)
    return parts and parts(config)


def require_family(name: str) -> None:
    """UserError for a name that is not in the table."""
    require(name in FAMILIES, f"model.family={name!r}: choose one of {', '.join(FAMILIES)}.")


def in_loss_family(config: ModelConfig, targets: int, steps: int) -> Family:
    """The family that learns from groups of `targets` targets a source, in a training of so many steps.

    UserError for a family that goes step by step: the choice is the student's.
    """
    parts, family = parallel_parts(config), make_family(config)
    require(parts is not None, f"model.family={config.family}: the E-step inside the loss is for students.")
    module = MODULES[config.family]
    make_loss = functools.partial(module.loss_of, config) if hasattr(module, "loss_of") else plain_loss
    return family._replace(loss=in_loss_e_step(parts, make_loss, family.loss, targets, steps))


def make_family(config: ModelConfig) -> Family:
    """The family that `config.family` names; the config must be resolved (ModelConfig.resolve)."""
    require_family(config.family)
    return FAMILIES[config.family](config)
