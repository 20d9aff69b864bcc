"""The table of families, and a model of p(target | source) by its line."""

from emnat_jax.config import FAMILIES, FamilySpec, ModelSpec
from emnat_jax.errors import UserError
from emnat_jax.families.base import Family
from emnat_jax.families.in_loss import in_loss_e_step
from emnat_jax.families.parallel import Parallel

__all__ = ["FAMILIES", "Family", "FamilySpec", "Parallel", "in_loss_family", "make_family", "parallel_parts"]


def make_family(model: ModelSpec) -> Family:
    """The family that `model` names, in its sizes and with its options."""
    return FAMILIES[model.family].make(model.transformer, model.options)


def parallel_parts(model: ModelSpec) -> Parallel | None:
    """The parts of a family with one pass over all positions; None of one that goes step by step."""
    parallel = FAMILIES[model.family].parallel
    return None if parallel is None else parallel(model.transformer, model.options)


def in_loss_family(model: ModelSpec, targets: int, steps: int) -> Family:
    """The family that learns from groups of `targets` targets a source, in a training of so many steps.

    UserError for a family that goes step by step: the choice is the student's.
    """
    parts = parallel_parts(model)
    if parts is None:
        raise UserError(f"model.family={model.family}: the E-step inside the loss is for students.")
    return make_family(model)._replace(loss=in_loss_e_step(parts, targets, steps))
