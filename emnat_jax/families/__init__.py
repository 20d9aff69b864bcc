"""Families: models of p(target | source) as four pure functions, by name.

`make_family(model)` gives the functions of a resolved configuration:

    model = ModelConfig(family="ctc", options=CTCOptions(factor=3)).resolve(vocab_size=4_000, max_length=24)
    family = make_family(model)
    params = family.init(jax.random.key(0))

`FAMILIES` is the table of all families. One of your own is a dataclass of options (FamilyOptions), a function
that makes a Family of sizes and options, and one line, which a config file enters before it returns its
configuration:

    FAMILIES["mine"] = FamilySpec(MyOptions, make, parts)

A variant of one of these starts from `make` and `parts` of its module, e.g. `families.vanilla`
(docs/guides/family.md).

`Family`, `Parallel` say what the functions promise; `parallel_family`, `init_and_axes` and `generable` are
what the families here are made with.
"""

from emnat_jax.config import FAMILIES, FamilyOptions, FamilySpec, ModelSpec, TransformerSpec
from emnat_jax.errors import UserError
from emnat_jax.families.base import Family, Redraft, Verify
from emnat_jax.families.in_loss import in_loss_e_step
from emnat_jax.families.objective import objective_loss
from emnat_jax.families.parallel import Parallel, parallel_family
from emnat_jax.families.parameters import init_and_axes
from emnat_jax.families.vocabulary import generable

__all__ = [
    "FAMILIES",
    "Family",
    "FamilyOptions",
    "FamilySpec",
    "ModelSpec",
    "Parallel",
    "Redraft",
    "TransformerSpec",
    "Verify",
    "generable",
    "in_loss_family",
    "init_and_axes",
    "make_family",
    "make_redraft",
    "make_verify",
    "parallel_family",
    "parallel_parts",
    "training_family",
]


def make_family(model: ModelSpec) -> Family:
    """The family that `model` names, in its sizes and with its options."""
    return FAMILIES[model.family].make(model.transformer, model.options)


def parallel_parts(model: ModelSpec) -> Parallel | None:
    """The parts of a family with one pass over all positions; None of one that goes step by step."""
    parallel = FAMILIES[model.family].parallel
    return None if parallel is None else parallel(model.transformer, model.options)


def make_verify(model: ModelSpec) -> Verify:
    """Greedy search of `model` that checks drafts; UserError for a family that can not."""
    make = FAMILIES[model.family].verify
    if make is None:
        raise UserError(
            f"decoder=verified: a model of the family {model.family} checks no drafts; name a teacher, which "
            "goes step by step."
        )
    return make(model.transformer, model.options)


def make_redraft(model: ModelSpec) -> Redraft:
    """Drafts of `model` given the beginning of an output; UserError for a family that can not see one."""
    make = FAMILIES[model.family].redraft
    found = None if make is None else make(model.transformer, model.options)
    if found is None:
        raise UserError(
            f"redraft: a model of the family {model.family} drafts without seeing what is written; name a "
            "student of cmlm or of glat with the base vanilla, or leave redraft out."
        )
    return found


def training_family(model: ModelSpec, objective: str, targets: int = 1) -> Family:
    """The family whose loss is for a TrainConfig.objective, of rows, or of groups of `targets` targets."""
    if targets > 1:
        return in_loss_family(model, targets, objective)
    parts, family = parallel_parts(model), make_family(model)
    if parts is None or objective == "likelihood":
        return family
    return family._replace(loss=objective_loss(parts, objective))


def in_loss_family(model: ModelSpec, targets: int, objective: str = "likelihood") -> Family:
    """The family that learns from groups of `targets` targets a source.

    UserError for a family that goes step by step: the choice is the student's.
    """
    parts = parallel_parts(model)
    if parts is None:
        raise UserError(
            f"student.family={model.family}: the E-step inside the loss is for students that are parallel."
        )
    return make_family(model)._replace(loss=in_loss_e_step(parts, targets, objective))
