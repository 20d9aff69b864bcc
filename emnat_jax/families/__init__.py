"""The table of families: a model of p(target | source) by name."""

from emnat_jax.config import ModelConfig
from emnat_jax.errors import UserError, require
from emnat_jax.families import ar, cmlm, ctc, dag, glat, nar
from emnat_jax.families.base import Family
from emnat_jax.families.parallel import Parallel

MODULES = {"ar": ar, "nar": nar, "cmlm": cmlm, "glat": glat, "ctc": ctc, "dag": dag}
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


def make_family(config: ModelConfig) -> Family:
    """The family that `config.family` names; the config must be resolved (ModelConfig.resolve)."""
    require_family(config.family)
    return FAMILIES[config.family](config)
