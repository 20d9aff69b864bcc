"""A teacher that checks a student's drafts: both models of it, and whichever of them was asked for."""

from typing import Any

from etils import epath

from emnat_jax.artifacts.manifest import is_finished
from emnat_jax.config.verified import DRAFTING, VERIFIED, VerifiedOptions
from emnat_jax.em.open_model import of_round, open_model
from emnat_jax.em.workdir import Workspace
from emnat_jax.errors import require
from emnat_jax.inference.model import TrainedModel
from emnat_jax.inference.verified import VerifiedModel
from emnat_jax.training.manifest import load_model_manifest


def open_any(
    work: Workspace,
    role: str = "student",
    round: int | None = None,
    *,
    folder: epath.PathLike | None = None,
    decoder: str | None = None,
    draft: epath.PathLike | None = None,
    **options: Any,
) -> TrainedModel | VerifiedModel:
    """As `em.load.load`, of an open workdir: `open_model`, or with the decoder `verified` two models.

    `options` are those of `open_model`, and with that decoder `length_candidates` and the fields of
    `VerifiedOptions`; each may be None.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if decoder == VERIFIED:
        require(
            "rescore" not in given, "decoder=verified: the teacher checks every token; leave out rescore."
        )
        return _open_verified(work, (role, round, folder), draft, given)
    asked = [name for name in DRAFTING if name in given or (name == "draft" and draft is not None)]
    require(not asked, f"{', '.join(asked)}: options of decoder=verified; add it, or leave them out.")
    return open_model(work, role, round, folder=folder, decoder=decoder, **given)


def _open_verified(
    work: Workspace,
    asked: tuple[str, int | None, epath.PathLike | None],
    draft: epath.PathLike | None,
    given: dict[str, Any],
) -> VerifiedModel:
    role, round, folder = asked
    lengths = given.pop("length_candidates", None)
    options = VerifiedOptions(**given)

    def opened(role: str, folder: epath.PathLike | None, decoder: str | None = None) -> TrainedModel:
        count = lengths if role == "student" else None
        return open_model(work, role, round, folder=folder, decoder=decoder, length_candidates=count)

    is_student = _is_parallel(work, role, folder)
    require(
        draft is None or not is_student,
        f"draft={draft}: the model that is asked for is a student, which drafts itself; ask for a teacher.",
    )
    # The other one is that of the same round; beside a folder, of the last round that has one.
    if is_student:
        teacher = of_round(work, "teacher", round, "student" if folder is None else "teacher")
        return VerifiedModel(opened("teacher", teacher, "greedy"), opened("student", folder), options)
    if draft is None:
        draft = of_round(work, "student", round, "teacher" if folder is None else "student")
        require(
            is_finished(epath.Path(draft)),
            f"decoder=verified: {draft} is no finished student; name one that drafts with draft=DIR.",
        )
    return VerifiedModel(opened("teacher", folder, "greedy"), opened("student", draft), options)


def _is_parallel(work: Workspace, role: str, folder: epath.PathLike | None) -> bool:
    """Whether the model that is asked for is a student."""
    if folder is None:
        return role == "student"
    return load_model_manifest(folder, work.vocabulary.fingerprint)[1].options.is_parallel
