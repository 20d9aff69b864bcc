"""Options that name a trained model and how it decodes, and the model that they stand for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from emnat_jax.artifacts import paths
from emnat_jax.config import FAMILIES, ROLES
from emnat_jax.errors import UserError, require
from emnat_jax.export.packages import FORMATS

if TYPE_CHECKING:
    from emnat_jax.em.workdir import Workspace
    from emnat_jax.inference.model import TrainedModel
    from emnat_jax.inference.translator import Translator

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


def add_backend(parser: argparse.ArgumentParser) -> None:
    """`--backend`, `--precision`, `--threads` of exported models."""
    text = (
        f"an exported model, of --model or of WORKDIR/{paths.EXPORTS}/ROLE; default: the trained one, by JAX"
    )
    parser.add_argument("--backend", choices=FORMATS, help=text)
    add_exported(parser)


def add_exported(parser: argparse.ArgumentParser) -> None:
    """`--precision`, `--threads` of exported models."""
    parser.add_argument(
        "--precision",
        choices=("int8", "float32"),
        help="exported; default: what the export chose",
    )
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="exported; default: one a core")


def exported_folder(args: argparse.Namespace) -> str | None:
    """The folder of the exported model that is asked for, or None for a trained one.

    UserError for options that it does not have, and for those of an exported model where it is none.
    """
    from emnat_jax.export.folder import is_exported

    folder = args.model or (args.backend and f"{args.workdir}/{paths.EXPORTS}/{args.role}")
    if folder and is_exported(folder):
        for name in ("round", "decoder", "length_candidates", "rescore"):
            option = f"--{name.replace('_', '-')}"
            require(getattr(args, name) is None, f"{option}: {folder} translates as it was exported.")
        return folder
    require(
        args.backend is None,
        f"--backend={args.backend}: {folder} is no exported model; make it with `emnat export`.",
    )
    refuse_exported(args, "name one with --model or --backend")
    return None


def refuse_exported(args: argparse.Namespace, remedy: str) -> None:
    """UserError for options of exported models, beside another one."""
    for name in ("precision", "threads"):
        require(not getattr(args, name), f"--{name} is of exported models; {remedy}.")


def load_exported_model(folder: str, args: argparse.Namespace, config_arguments: list[str]) -> Translator:
    """The exported model of a folder; UserError where it is for another backend."""
    from emnat_jax.export.load import load_exported

    if config_arguments:
        raise UserError(f"{config_arguments[0]}: {folder} translates as it was exported; leave it out.")
    return load_exported(folder, args.precision, args.threads, format=args.backend)


def _decoders() -> str:
    """The decoders of each family, as the help has them."""
    known = {name: ", ".join(spec.options().decoders()) for name, spec in FAMILIES.items()}
    return "; ".join(f"{name}: {decoders}" for name, decoders in known.items() if decoders)


def load_model(work: Workspace, args: argparse.Namespace) -> TrainedModel:
    """The trained model that the options of `add_model` ask for."""
    from emnat_jax.em.open_model import open_model

    return open_model(
        work,
        args.role,
        args.round,
        folder=args.model,
        decoder=args.decoder,
        length_candidates=args.length_candidates,
        rescore=args.rescore,
    )
