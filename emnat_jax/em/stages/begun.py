"""What a training was begun with, kept beside its checkpoints: another one does not go on from them."""

import contextlib
import json
from typing import Any

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.as_json import as_json
from emnat_jax.artifacts.atomic import atomic_file, read_file
from emnat_jax.artifacts.folders import is_left, remove_folder, remove_left, take_away
from emnat_jax.artifacts.manifest import MANIFEST_NAME, MODEL, is_finished, load_manifest
from emnat_jax.artifacts.sealed import digest
from emnat_jax.config import TrainConfig
from emnat_jax.config.convert import differences, to_dict
from emnat_jax.errors import require
from emnat_jax.runtime.progress import Log
from emnat_jax.training.checkpoint import MADE_FROM
from emnat_jax.training.manifest import weights_of
from emnat_jax.training.restore import read_metadata, saved_steps

_FOLDERS = (paths.CHECKPOINTS, paths.TENSORBOARD)  # that a training fills


def begin(output: epath.Path, made_from: dict[str, Any], log: Log, *, starts_over: bool) -> bool:
    """Whether the training has finished before; if not, what its folder holds is of this training.

    `made_from` (options and fingerprints) decides the weights. UserError where a training from something else
    has finished there. One that is half done is deleted, and `log` says so, if this one `starts_over`; else
    it is a UserError too.
    """
    path, new = output / paths.TRAINED_FROM, as_json(made_from)
    old = read_begun(path)
    names = [_key(name, made_from.get("role", "")) for name in differences(_with_defaults(old), new)]
    changed = ", ".join(dict.fromkeys(names))
    if is_finished(output):
        _require_same(output, changed if old else f"unknown ({path.name} is lost)")
        lost = lost_step(output)
        if lost is None:
            return True
        _reopen(output, lost, log)
    for name in _FOLDERS:
        remove_left(output / name)
    if not changed:
        return False
    if saved := saved_steps(output / paths.CHECKPOINTS):
        what = f"with other data or options ({changed})" if old else f"without a readable {path.name}"
        half_done = f"{output} holds a training {what}, saved after step {saved[-1]}"
        require(starts_over, f"{half_done}. Go on with those, give another --output, or delete this folder.")
        log(f"{half_done}; deletes it and starts from the beginning")
    elif not old and not starts_over:
        _require_nothing_of_others(output)
    _delete_training(output)
    with atomic_file(path) as file:
        file.write(json.dumps(new, indent=2).encode() + b"\n")
    return False


def _require_nothing_of_others(output: epath.Path) -> None:
    """UserError where a folder holds what a training would delete, and none says that it is its own."""
    found = [name for name in (*_FOLDERS, paths.METRICS) if (output / name).exists()]
    require(
        not found,
        f"{output} holds {', '.join(found)}, and no readable {paths.TRAINED_FROM} says of what training; "
        "give another --output, or move them away.",
    )


def _with_defaults(made_from: dict[str, Any]) -> dict[str, Any]:
    """The same with the options of trainings that came after it was written, which have their default."""
    train = made_from.get("train")
    if not isinstance(train, dict):
        return made_from
    return made_from | {"train": as_json(to_dict(TrainConfig())) | train}


def identity(output: epath.Path) -> str:
    """Of what `begin` wrote there, this version or an older one: what its checkpoints are marked with."""
    return digest(read_begun(output / paths.TRAINED_FROM))


def _require_same(output: epath.Path, changed: str) -> None:
    require(
        not changed,
        f"{output} is a finished model of other data or options; different: {changed}. Give another "
        "--output.",
    )


def lost_step(output: epath.Path) -> int | None:
    """A step whose checkpoint a finished model needs and has lost, while others are there.

    None where none is lost, and where all are: of those, deleted to save space, the loading tells. A kill
    while `_reopen` deletes them is no such case.
    """
    saved = saved_steps(output / paths.CHECKPOINTS)
    some_lost = bool(saved) or is_left(output / paths.CHECKPOINTS)
    manifest = load_manifest(output, kinds=(MODEL,))
    return next((step for step in weights_of(manifest).steps if some_lost and step not in saved), None)


def _reopen(output: epath.Path, lost: int, log: Log) -> None:
    """Makes a finished training an unfinished one, which goes on before the step that is lost, or anew."""
    saved = saved_steps(output / paths.CHECKPOINTS)
    if saved and saved[-1] < lost:
        log(f"{output} has lost its checkpoint after step {lost}; trains on from the one before")
        (output / MANIFEST_NAME).unlink()
        return
    log(f"{output} has lost its checkpoint after step {lost}; trains from the beginning")
    # Before the manifest: with it gone, and later checkpoints there, a training would go on from those.
    take_away(output / paths.CHECKPOINTS)
    (output / MANIFEST_NAME).unlink()
    _delete_checkpoints(output)


def require_own_checkpoints(output: epath.Path) -> None:
    """UserError where the checkpoints of a finished model are those of another training."""
    made_from, steps = read_begun(output / paths.TRAINED_FROM), saved_steps(output / paths.CHECKPOINTS)
    needed = set(weights_of(load_manifest(output, kinds=(MODEL,))).steps)
    for step in needed & set(steps) or set(steps[-1:]):  # lost ones are trained again from the newest on
        found = read_metadata(output / paths.CHECKPOINTS, step).get(MADE_FROM)
        require(
            found is None or not made_from or found == digest(made_from),
            f"{output / paths.CHECKPOINTS} holds the checkpoints of another training; restore its own, or "
            f"delete {output} and what was made from it, and run `emnat em`.",
        )


def _key(name: str, role: str) -> str:
    """What a name of `made_from` is called in the configuration or on the command line."""
    group, _, rest = name.partition(".")
    if group == "left_out":
        return "em.folds"
    if group in ("fingerprints", "shards"):
        return "data" if rest == "source" else rest
    return {"model": f"{role}.{rest}", "train": f"{role}_train.{rest}"}.get(group, name)


def read_begun(path: epath.Path) -> dict[str, Any]:
    """What `begin` wrote; nothing where that is lost or damaged."""
    with contextlib.suppress(ValueError, OSError, RecursionError):
        found = json.loads(read_file(path))
        return found if isinstance(found, dict) else {}
    return {}


def _delete_training(output: epath.Path) -> None:
    (output / paths.TRAINED_FROM).unlink(missing_ok=True)  # first: a kill may leave a part of the rest
    _delete_checkpoints(output)


def _delete_checkpoints(output: epath.Path) -> None:
    for name in _FOLDERS:
        remove_folder(output / name)
    (output / paths.METRICS).unlink(missing_ok=True)
