"""A trained model of a workdir: by role and round, or by its folder, with the decoding that is asked for."""

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.atomic import absolute
from emnat_jax.artifacts.manifest import MANIFEST_NAME, is_finished
from emnat_jax.artifacts.saved_config import require_found
from emnat_jax.config import ROLES, Config, ModelSpec
from emnat_jax.em.workdir import Workspace, saved_config
from emnat_jax.errors import UserError, require
from emnat_jax.inference.model import TrainedModel


def load(
    path: epath.PathLike,
    role: str = "student",
    round: int | None = None,
    *,
    decoder: str | None = None,
    length_candidates: int | None = None,
    rescore: str | None = None,
) -> TrainedModel:
    """The teacher or student of a workdir, or the model whose folder `path` is.

    `round`: None is the last with a finished model of that role. `decoder`, `length_candidates` and `rescore`
    (None, "self", "teacher" or the folder of a teacher) are as in `emnat translate`. Raises UserError, with
    what to do, for a folder without a finished model, a damaged or foreign one, and a decoding that the
    family does not have.
    """
    directory, model = _workdir_of(absolute(epath.Path(path).expanduser()))
    config = saved_config(directory)
    require_found(directory, config)
    work = Workspace(config or Config(), directory, log=lambda text: None)
    return open_model(
        work, role, round, folder=model, decoder=decoder, length_candidates=length_candidates, rescore=rescore
    )


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


def open_model(
    work: Workspace,
    role: str = "student",
    round: int | None = None,
    *,
    folder: epath.PathLike | None = None,
    decoder: str | None = None,
    length_candidates: int | None = None,
    rescore: str | None = None,
) -> TrainedModel:
    """As `load`, of an open workdir; `folder` is that of a finished model, in place of role and round."""
    require(role in ROLES, f"role={role!r}: choose one of {', '.join(ROLES)}.")

    def change(model: ModelSpec) -> ModelSpec:
        model = model if decoder is None else model.with_decoder(decoder)
        own = rescore in (None, "self")
        return model if length_candidates is None else _with_lengths(model, length_candidates, own)

    model = work.load(folder or _round_folder(work, role, round), change)
    if rescore in (None, "self"):
        return model
    # A teacher that rescores is that of the student's round.
    of = "teacher" if folder is not None else role
    teacher = work.load(_round_folder(work, "teacher", round, of) if rescore == "teacher" else rescore)
    own = model.config.options.length_candidates or 1
    return model.rescored_by(
        teacher, length_candidates or max(own, work.config.evaluation.rescored_candidates)
    )


def _round_folder(work: Workspace, role: str, round: int | None, of: str | None = None) -> epath.Path:
    return work.round_folder(last_round(work, of or role) if round is None else round, role)


def _with_lengths(model: ModelSpec, count: int, alone: bool) -> ModelSpec:
    """The model with this many lengths; as it is where it has no such option and is not `alone`."""
    require(count >= 1, f"length candidates {count}: use 1 or more.")
    if model.options.length_candidates is None and not alone:
        return model
    return model.with_length_candidates(count)


def last_round(work: Workspace, role: str) -> int:
    """The newest round with a finished model; UserError where there is none."""
    rounds = [path for path in (work.directory / paths.ROUNDS).glob("*") if path.name.isdigit()]
    finished = [int(path.name) for path in rounds if is_finished(path / role)]
    if not finished:
        raise UserError(
            f"{work.directory} has no finished {role} in {paths.ROUNDS}/; run `emnat em`, or name a trained "
            "model by its folder (--model=DIR)."
        )
    return max(finished)
