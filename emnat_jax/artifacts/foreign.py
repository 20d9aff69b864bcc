"""Workdirs that no command of a single run opens: those of earlier versions, and those of sweeps."""

import contextlib
import json
import os

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.atomic import read_file
from emnat_jax.errors import UserError, require


def refuse_foreign_workdir(directory: epath.PathLike) -> None:
    """UserError where `directory` is a sweep's, or was made when the roles were called ar and nar."""
    directory = epath.Path(directory)
    require(
        not (directory / paths.CELLS).is_dir() or (directory / paths.CONFIG).exists(),
        f"{directory} is the workdir of a sweep; name one of its runs: "
        f"--workdir={directory / paths.cell('GROUP', 'CELL', 1)}.",
    )
    if _has_earlier_options(directory / paths.CONFIG) or _has_earlier_folders(directory):
        name = os.fspath(directory)
        raise UserError(
            f"{name} was made by an earlier emnat_jax, in which teacher and student were called ar and nar; "
            "this one cannot go on with it. Use that version, or begin a new workdir."
        )


def _has_earlier_options(path: epath.Path) -> bool:
    # What is damaged is refused where it is read.
    with contextlib.suppress(ValueError, OSError, AttributeError, TypeError, RecursionError):
        values = json.loads(read_file(path))
        return "nar_data" in values.get("em", {}) or "nar" in values.get("student", {})
    return False


def _has_earlier_folders(directory: epath.Path) -> bool:
    first = directory / paths.round_folder(0)
    return any((first / role).exists() for role in ("ar", "nar"))
