"""Workdirs of earlier versions, which this one cannot read: their roles were called ar and nar."""

import contextlib
import json
import os

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.errors import UserError


def refuse_earlier_workdir(directory: epath.PathLike) -> None:
    """UserError where `directory` was made when the roles were called ar and nar."""
    directory = epath.Path(directory)
    if _has_earlier_options(directory / paths.CONFIG) or _has_earlier_folders(directory):
        name = os.fspath(directory)
        raise UserError(
            f"{name} was made by an earlier emnat_jax, in which teacher and student were called ar and nar; "
            "this one cannot go on with it. Use that version, or begin a new workdir."
        )


def _has_earlier_options(path: epath.Path) -> bool:
    # What is damaged is refused where it is read.
    with contextlib.suppress(ValueError, OSError, AttributeError, TypeError, RecursionError):
        values = json.loads(path.read_text())
        return "nar_data" in values.get("em", {}) or "nar" in values.get("student", {})
    return False


def _has_earlier_folders(directory: epath.Path) -> bool:
    first = directory / paths.round_folder(0)
    return any((first / role).exists() for role in ("ar", "nar"))
