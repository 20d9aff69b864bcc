"""A trained or an exported model by its folder, or of a workdir by role and round."""

from typing import TYPE_CHECKING, Any

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.atomic import absolute, reachable
from emnat_jax.artifacts.manifest import MANIFEST_NAME
from emnat_jax.artifacts.saved_config import require_found
from emnat_jax.config.verified import has_second_model
from emnat_jax.errors import UserError, require
from emnat_jax.export.folder import is_exported
from emnat_jax.export.load import load_exported
from emnat_jax.inference.translator import Translator

if TYPE_CHECKING:
    from emnat_jax.inference.model import TrainedModel
    from emnat_jax.inference.verified import VerifiedModel


def load(
    path: epath.PathLike,
    role: str = "student",
    round: int | None = None,
    *,
    decoder: str | None = None,
    length_candidates: int | None = None,
    rescore: str | None = None,
    draft: epath.PathLike | None = None,
    draft_block: int | None = None,
    redraft: bool | None = None,
    accept_top: int | None = None,
    accept_margin: float | None = None,
    precision: str | None = None,
    threads: int = 0,
) -> Translator:
    """The teacher or student of a workdir, or the model whose folder `path` is.

    `round`: None is the last with a finished model of that role. `decoder`, `length_candidates` and `rescore`
    (None, "self", "teacher" or the folder of a teacher) are as in `emnat translate`. With decoder="verified"
    a student drafts and a teacher checks: whichever of them is asked for, the other is that of the same
    round, or the student is the folder `draft`; `draft_block` tokens are checked in a pass, with `redraft`
    the student drafts the rest anew after each, and `accept_top` or `accept_margin` accept other tokens than
    greedy search would choose (docs/guides/verified.md).

    It is a `TrainedModel`, with decoder="verified" a `VerifiedModel`. Of the folder of an exported model it
    is a `Translator` that needs no JAX, and those options, which were settled at the export, give way to
    `precision` ("int8" or "float32"; None: the export's own choice) and `threads` (0: one for each core).
    UserError for a folder without a finished model, a damaged or foreign one, and options that it has not.
    """
    directory = absolute(reachable(path))
    decoding = {
        "decoder": decoder,
        "length_candidates": length_candidates,
        "rescore": rescore,
        "draft": draft,
        "draft_block": draft_block,
        "redraft": redraft,
        "accept_top": accept_top,
        "accept_margin": accept_margin,
    }
    if is_exported(directory):
        asked = [name for name, value in {"round": round, **decoding}.items() if value is not None]
        require(not asked, f"{directory} decodes as it was exported: leave out {', '.join(asked)}.")
        return load_exported(directory, precision, threads)
    require(
        precision is None and not threads,
        f"{directory} is no exported model: precision and threads are for one; make it with `emnat export`.",
    )
    return _load_trained(directory, role, round, decoding)


def _load_trained(
    path: epath.Path, role: str, round: int | None, decoding: dict[str, Any]
) -> "TrainedModel | VerifiedModel":
    directory, model = _workdir_of(path)
    of_second = has_second_model(decoding["decoder"], decoding["rescore"])
    text = f"round={round}: {path} is the folder of a model; leave it out, or give the workdir."
    require(model is None or round is None or of_second, text)
    # Here and not above: all of these import JAX, which an exported model does without.
    from emnat_jax.config import Config
    from emnat_jax.em.open_verified import open_any
    from emnat_jax.em.workdir import Workspace, saved_config

    config = saved_config(directory)
    require_found(directory, config)
    work = Workspace(config or Config(), directory, log=lambda text: None)
    return open_any(work, role, round, folder=model, **decoding)


def _workdir_of(path: epath.Path) -> tuple[epath.Path, epath.Path | None]:
    """(the workdir, the model's folder or None where `path` is the workdir itself)."""
    if (path / paths.VOCABULARY).exists():
        return path, None
    require(path.exists(), f"{path}: no such folder; give a workdir or the folder of a finished model.")
    require(
        (path / MANIFEST_NAME).exists(),
        f"{path} is neither a workdir (it has no {paths.VOCABULARY}/) nor the folder of a finished model (no "
        f"{MANIFEST_NAME}).",
    )
    for parent in path.parents:
        if (parent / paths.VOCABULARY).exists():
            return parent, path
    raise UserError(f"{path}: no vocabulary above it; move the model's folder into its workdir.")
