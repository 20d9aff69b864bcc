"""A trained model of an open workdir: by role and round, or by its folder, with the decoding asked for."""

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.folders import numbered
from emnat_jax.artifacts.journal import known_stages, made_stages
from emnat_jax.artifacts.manifest import MANIFEST_NAME, is_finished
from emnat_jax.config import ROLES, ModelSpec
from emnat_jax.em.chain import require_own_place
from emnat_jax.em.workdir import Workspace
from emnat_jax.errors import UserError, require
from emnat_jax.inference.model import TrainedModel


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
    """As `em.load.load`, of an open workdir; `folder` is that of a model, in place of role and round."""
    require(role in ROLES, f"role={role!r}: choose one of {', '.join(ROLES)}.")

    def change(model: ModelSpec) -> ModelSpec:
        model = model if decoder is None else model.with_decoder(decoder)
        own = rescore in (None, "self")
        return model if length_candidates is None else _with_lengths(model, length_candidates, own)

    model = work.load(folder or of_round(work, role, round), change)
    if rescore in (None, "self"):
        return model
    # A teacher that rescores is that of the student's round.
    of = "teacher" if folder is not None else role
    teacher = work.load(of_round(work, "teacher", round, of) if rescore == "teacher" else rescore)
    own = model.config.options.length_candidates or 1
    return model.rescored_by(
        teacher, length_candidates or max(own, work.config.evaluation.rescored_candidates)
    )


def of_round(work: Workspace, role: str, round: int | None, of: str | None = None) -> epath.Path:
    """The folder of a round's model; UserError where that of another round or run lies there."""
    require(round is None or type(round) is int, f"round={round!r}: give a whole number.")
    index = last_round(work, of or role) if round is None else round
    folder = work.round_folder(index, role)
    own = work.directory / paths.model(0 if round is None else round, role)
    if round is not None and not (is_finished(folder) and own.parent.exists()):
        finished = ", ".join(map(str, _finished_rounds(work, role))) or "none"
        raise UserError(
            f"round {round}: {own} is no finished {role} (it has no {MANIFEST_NAME}); rounds that "
            f"have one: {finished}."
        )
    require_own_place(work, folder, index)
    return folder


def _with_lengths(model: ModelSpec, count: int, alone: bool) -> ModelSpec:
    """The model with this many lengths; as it is where it has no such option and is not `alone`."""
    require(count >= 1, f"length candidates {count}: use 1 or more.")
    if model.options.length_candidates is None and not alone:
        return model
    return model.with_length_candidates(count)


def last_round(work: Workspace, role: str) -> int:
    """The newest round with a finished model; UserError where there is none, or a newer one was lost."""
    finished = _finished_rounds(work, role)
    if not finished:
        raise UserError(
            f"{work.directory} has no finished {role} in {paths.ROUNDS}/; run `emnat em`, or name a trained "
            "model by its folder (--model=DIR)."
        )
    _require_newest(work, role, finished[-1])
    return finished[-1]


def _finished_rounds(work: Workspace, role: str) -> list[int]:
    """In increasing order."""
    rounds = numbered(work.directory / paths.ROUNDS)
    return [index for index, path in rounds.items() if is_finished(path / role)]


def _require_newest(work: Workspace, role: str, newest: int) -> None:
    """UserError where the model of a later round was finished once, and is so no more.

    The journal says so or, where it does not know that model, the evaluation of the round.
    """
    made, known = made_stages(work.directory), known_stages(work.directory)
    for index in range(newest + 1, work.config.em.rounds + 1):
        name = paths.model(index, role)
        is_own = work.round_folder(index, role) == work.directory / name  # not that of a frozen teacher
        evaluated = is_own and name not in known and (work.directory / paths.evaluation(index)).exists()
        require(
            name not in made and not evaluated,
            f"{work.directory / name} was finished, and its {MANIFEST_NAME} is lost; restore it, or run "
            f"`emnat em`, which makes it again, or name the round (--round={newest}).",
        )
