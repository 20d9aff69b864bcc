"""Options that name a trained model and how it decodes, and the model that they stand for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from emnat_jax.config import FAMILIES, ROLES

if TYPE_CHECKING:
    from emnat_jax.em.workdir import Workspace
    from emnat_jax.inference.model import TrainedModel

_LENGTHS = (
    "families with a length head: lengths decoded in parallel; with --rescore, for any student: "
    "hypotheses to choose from"
)


def add_model(parser: argparse.ArgumentParser) -> None:
    """`--role` and `--round`, or `--model`; `--decoder`, `--length-candidates`, `--rescore`."""
    parser.add_argument("--role", choices=ROLES, default="student", help="default: student")
    parser.add_argument("--round", type=int, metavar="N", help="default: the last finished round")
    parser.add_argument("--model", metavar="DIR", help="folder of a finished model, not role and round")
    parser.add_argument("--decoder", help=f"{_decoders()}; default: the model's own")
    parser.add_argument("--length-candidates", type=int, metavar="N", help=_LENGTHS)
    parser.add_argument(
        "--rescore",
        metavar="self|teacher|DIR",
        help="who chooses among a student's hypotheses; teacher: that of the same round",
    )


def _decoders() -> str:
    """The decoders of each family, as the help has them."""
    known = {name: ", ".join(spec.options().decoders()) for name, spec in FAMILIES.items()}
    return "; ".join(f"{name}: {decoders}" for name, decoders in known.items() if decoders)


def load_model(work: Workspace, args: argparse.Namespace) -> TrainedModel:
    """The trained model that the options of `add_model` ask for."""
    from emnat_jax.em.load import open_model

    return open_model(
        work,
        args.role,
        args.round,
        folder=args.model,
        decoder=args.decoder,
        length_candidates=args.length_candidates,
        rescore=args.rescore,
    )
