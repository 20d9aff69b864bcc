"""What a training was begun with, kept beside its checkpoints: another one does not go on from them."""

import contextlib
import json
from typing import Any

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.as_json import as_json
from emnat_jax.artifacts.atomic import atomic_file
from emnat_jax.artifacts.manifest import is_finished
from emnat_jax.config.convert import differences
from emnat_jax.errors import require
from emnat_jax.runtime.progress import Log


def begin(output: epath.Path, made_from: dict[str, Any], log: Log) -> bool:
    """Whether the training has finished before; if not, what its folder holds is of this training.

    `made_from` (options and fingerprints) decides the weights. Checkpoints of a training from something else
    are deleted; UserError where that one has finished.
    """
    path, new = output / paths.TRAINED_FROM, as_json(made_from)
    old = _read(path)
    changed = [_key(name, made_from.get("role", "")) for name in differences(old, new)]
    if is_finished(output):
        require(bool(old), f"{output} is a finished model without {path.name}; give a new folder.")
        require(
            not changed,
            f"{output} is a finished model, trained from something else or with other options; different: "
            f"{', '.join(changed)}. Give a new folder.",
        )
        return True
    if not changed:
        return False
    if (output / paths.CHECKPOINTS).exists():
        log(f"{output}: begun with other options ({', '.join(changed)}); starts from the beginning")
    _delete_training(output)
    with atomic_file(path) as file:
        file.write(json.dumps(new, indent=2).encode() + b"\n")
    return False


def _key(name: str, role: str) -> str:
    """What a name of `made_from` is called in the configuration, where it is an option of the role."""
    group, _, rest = name.partition(".")
    return {"model": f"{role}.{rest}", "train": f"{role}_train.{rest}"}.get(group, name)


def _read(path: epath.Path) -> dict[str, Any]:
    """What `begin` wrote; nothing where that is lost or damaged."""
    with contextlib.suppress(ValueError, OSError):
        found = json.loads(path.read_text())
        return found if isinstance(found, dict) else {}
    return {}


def _delete_training(output: epath.Path) -> None:
    (output / paths.TRAINED_FROM).unlink(missing_ok=True)  # first: a kill may leave a part of the rest
    for name in (paths.CHECKPOINTS, paths.TENSORBOARD):
        if (output / name).exists():
            (output / name).rmtree()
    (output / paths.METRICS).unlink(missing_ok=True)
