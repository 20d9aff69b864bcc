"""Options that name a trained model and how it decodes, and the model that they stand for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from emnat_jax.artifacts import paths
from emnat_jax.cli.streams import note
from emnat_jax.config import FAMILIES, ROLES
from emnat_jax.config.verified import DRAFTING, VERIFIED, VerifiedOptions, has_second_model
from emnat_jax.errors import UserError, require
from emnat_jax.export.packages import FORMATS

if TYPE_CHECKING:
    from emnat_jax.em.workdir import Workspace
    from emnat_jax.inference.model import TrainedModel
    from emnat_jax.inference.translator import Translator
    from emnat_jax.inference.verified import VerifiedModel

_VERIFIED = (
    f"{VERIFIED}: a student drafts, the teacher checks, the output is that of the teacher's greedy search"
)
_LENGTHS = (
    "families with a length head: lengths decoded in parallel; with --rescore, for any student: "
    "hypotheses to choose from"
)


def add_model(parser: argparse.ArgumentParser) -> None:
    """`--role` and `--round`, or `--model`; `--decoder`, `--length-candidates`, `--rescore`, of drafts."""
    parser.add_argument("--role", choices=ROLES, help="default: student")
    parser.add_argument("--round", type=int, metavar="N", help="default: the last finished round")
    parser.add_argument("--model", metavar="DIR", help="folder of a finished model, not role and round")
    parser.add_argument("--decoder", help=f"{_decoders()}; {_VERIFIED}; default: the model's own")
    parser.add_argument("--length-candidates", type=int, metavar="N", help=_LENGTHS)
    parser.add_argument(
        "--rescore",
        metavar="self|teacher|DIR",
        help="who chooses among a student's hypotheses; teacher: that of the same round",
    )
    add_drafting(parser)


def add_drafting(parser: argparse.ArgumentParser) -> None:
    """`--draft`, `--draft-block`, `--redraft`, `--accept-top`, `--accept-margin` of --decoder=verified."""
    group = parser.add_argument_group(f"--decoder={VERIFIED}")
    text = "folder of the student that drafts; default: the student of the teacher's round"
    group.add_argument("--draft", metavar="DIR", help=text)
    text = f"tokens of a draft that are checked in a pass; default: {VerifiedOptions.draft_block}"
    group.add_argument("--draft-block", type=int, metavar="N", help=text)
    text = "the student drafts the rest anew after every pass, given what is written (cmlm; glat of vanilla)"
    group.add_argument("--redraft", action="store_const", const=True, help=text)
    text = "accept a token among the N most probable ones: not lossless, the output is not the teacher's"
    group.add_argument("--accept-top", type=int, metavar="N", help=text)
    text = "accept a token up to so many nats below the most probable one: not lossless either"
    group.add_argument("--accept-margin", type=float, metavar="NATS", help=text)


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
        help="of an exported model; default: what the export chose",
    )
    parser.add_argument(
        "--threads", type=int, default=0, metavar="N", help="of an exported model; default: one for each core"
    )


def require_one_name(args: argparse.Namespace) -> None:
    """UserError where `--model` and another option each name a model.

    With --rescore=teacher and --decoder=verified `--round` is that of the second model.
    """
    of_second = has_second_model(args.decoder, args.rescore)
    for name in ("role",) if of_second else ("role", "round"):
        text = f"--{name}={getattr(args, name)}: --model names the model; leave out the one or the other."
        require(getattr(args, name) is None or not args.model, text)


def role_of(args: argparse.Namespace) -> str:
    """The role that is asked for; UserError as `require_one_name`."""
    require_one_name(args)
    return args.role or "student"


def refuse_model_options(config_arguments: list[str]) -> None:
    """UserError for options of teacher or student, which a model keeps as it was trained with them."""
    for argument in config_arguments:
        require(
            not argument.startswith(tuple(f"--config.{role}." for role in ROLES)),
            f"{argument}: a trained model keeps the options of its training; leave it out (--decoder takes "
            "another decoder).",
        )


def exported_folder(args: argparse.Namespace) -> str | None:
    """The folder of the exported model that is asked for, or None for a trained one.

    UserError for options that it does not have, and for those of an exported model where it is none.
    """
    from emnat_jax.export.folder import is_exported

    role = role_of(args)
    folder = args.model or (args.backend and f"{args.workdir}/{paths.EXPORTS}/{role}")
    if folder and is_exported(folder):
        for name in ("round", "decoder", "length_candidates", "rescore", *DRAFTING):
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


def load_model(work: Workspace, args: argparse.Namespace) -> TrainedModel | VerifiedModel:
    """The trained model that the options of `add_model` ask for."""
    lengths, rescore = args.length_candidates, args.rescore
    return open_drafted(work, args, role_of(args), args.round, length_candidates=lengths, rescore=rescore)


def open_drafted(
    work: Workspace, args: argparse.Namespace, role: str = "student", round: int | None = None, **options: Any
) -> TrainedModel | VerifiedModel:
    """The model of a role or of `--model`, with `--decoder` and the options of `add_drafting`.

    What accepts other tokens than greedy search chooses is said to be not lossless.
    """
    from emnat_jax.em.open_verified import open_any

    drafting = {name: getattr(args, name) for name in DRAFTING}
    model = open_any(work, role, round, folder=args.model, decoder=args.decoder, **drafting, **options)
    is_relaxed = args.accept_top is not None or args.accept_margin is not None
    if is_relaxed and work.processes.is_first:
        text = "not lossless, tokens are accepted that the teacher's greedy search would not choose"
        note(f"--decoder={VERIFIED}", text)
    return model
