"""Read one checkpoint: what was saved, bit for bit, or an error.

Each has a SHA-256 of every array and of its metadata (`checkpoint`), which is verified here.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from emnat_jax.artifacts.atomic import absolute
from emnat_jax.artifacts.folders import numbered, require_files, require_text_name
from emnat_jax.errors import UserError, require
from emnat_jax.runtime.event_loop import patient_loops
from emnat_jax.training.fingerprint import fingerprint
from emnat_jax.training.state import TrainState
from emnat_jax.types import Params

ITEMS = ("state", "metadata")


class Damaged(Exception):
    """A checkpoint whose bits are not those that were saved."""


def saved_steps(directory: str | os.PathLike) -> list[int]:
    """The steps of the checkpoints in `directory`, in increasing order; none where it is not there.

    On a disk all were saved whole: an unfinished one has another name.
    """
    return [step for step, path in numbered(epath.Path(directory)).items() if path.is_dir()]


def read_metadata(directory: str | os.PathLike, step: int) -> dict:
    """The metadata that were saved with a checkpoint; UserError where it is lost or damaged."""
    with _reader(directory) as manager:
        path = _existing(directory, manager, step)
        return _or_user_error(path, lambda: _read_metadata(manager, step)["metadata"])


def restore_params(directory: str | os.PathLike, abstract: Params, step: int) -> Params:
    """Only the parameters to decode with (the average where there is one) of one checkpoint.

    `abstract` are their shapes, types and shardings. Raises UserError where it is lost or damaged.
    """
    with _reader(directory) as manager:
        path = _existing(directory, manager, step)
        return _or_user_error(path, lambda: _restore_part(manager, path, step, abstract))


def restore_state(directory: str | os.PathLike, abstract: TrainState, step: int) -> TrainState:
    """The whole state of one checkpoint of a finished run; `abstract` has the shardings.

    Raises UserError where it is lost, damaged, or of another model or optimiser.
    """
    with _reader(directory) as manager:
        path = _existing(directory, manager, step)
        return _or_user_error(path, lambda: restore_whole(manager, path, step, abstract)[0])


def damaged_steps(directory: str | os.PathLike) -> list[int]:
    """Those of `saved_steps` whose metadata or parameters are not what was saved.

    Needs no model, and does not look at the state of the optimiser.
    """
    with _reader(directory) as manager:
        return [
            step for step in saved_steps(directory) if not _is_whole(manager, f"{directory}/{step}", step)
        ]


def _is_whole(manager: ocp.CheckpointManager, path: str, step: int) -> bool:
    try:
        sealed = _read_metadata(manager, step)
        for name in sealed["fingerprints"].keys() & {"params", "ema"}:
            item = {name: _saved_shapes(path, name)}
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), item)
            _verify(name, _read_part(manager, step, item, as_numpy)[name], sealed)
    except Damaged:
        return False
    return True


def restore_whole(
    manager: ocp.CheckpointManager, path: str, step: int, abstract: TrainState
) -> tuple[TrainState, dict]:
    """State and metadata of a step; raises Damaged."""
    sealed = _read_metadata(manager, step)
    _require_same_model(path, "params", abstract.params)
    restore = ocp.args.StandardRestore(as_items(abstract))
    items = _guarded(lambda: manager.restore(step, args=ocp.args.Composite(state=restore))["state"])
    for name, item in items.items():
        _verify(name, item, sealed)
    return TrainState(**{"ema": None, **items}), sealed["metadata"]


def _existing(directory: str | os.PathLike, manager: ocp.CheckpointManager, step: int) -> str:
    """The path of a checkpoint; UserError where there is none."""
    folder = absolute(directory)
    require(
        step in manager.all_steps(),
        f"{folder} has lost the checkpoint after step {step}; restore it, or run `emnat em`, which trains "
        f"it again, or delete {folder.parent} and train the model again.",
    )
    return f"{folder}/{step}"


def _restore_part(manager: ocp.CheckpointManager, path: str, step: int, abstract: Params) -> Params:
    sealed = _read_metadata(manager, step)
    name = "ema" if "ema" in sealed["fingerprints"] else "params"
    _require_same_model(path, name, abstract)
    item = {name: abstract}
    params = _read_part(manager, step, item, ocp.checkpoint_utils.construct_restore_args(item))[name]
    _verify(name, params, sealed)
    return params


def _read_part(manager: ocp.CheckpointManager, step: int, item: dict, restore_args: Any) -> dict:
    """The parts of a state that `item` names, as `restore_args` say; raises Damaged."""
    restore = ocp.args.PyTreeRestore(item, restore_args=restore_args, partial_restore=True)
    return _guarded(lambda: manager.restore(step, args=ocp.args.Composite(state=restore))["state"])


def _saved_shapes(path: str, name: str) -> Any:
    """The parameters `name` of a checkpoint as shapes and types; raises Damaged."""
    return _guarded(lambda: ocp.PyTreeCheckpointHandler().metadata(epath.Path(path) / "state").tree[name])


def _require_same_model(path: str, name: str, abstract: Params) -> None:
    """UserError where the parameters `name` have other names or shapes than these."""
    has, wants = (
        {jax.tree_util.keystr(key): tuple(leaf.shape) for key, leaf in jax.tree.leaves_with_path(tree)}
        for tree in (_saved_shapes(path, name), abstract)
    )
    for key in sorted(has.keys() | wants.keys()):
        if has.get(key) != wants.get(key):
            raise UserError(
                f"checkpoint {path} is of another model, or of another version of emnat_jax: its parameter "
                f"{key} has shape {has.get(key)}, expected {wants.get(key)} (None: there is none). Use the "
                "version that made it, or train again in a new folder."
            )


def _read_metadata(manager: ocp.CheckpointManager, step: int) -> dict:
    """The sealed metadata of a step; raises Damaged when the seal does not fit."""
    restore = ocp.args.Composite(metadata=ocp.args.JsonRestore())
    sealed = _guarded(lambda: manager.restore(step, args=restore)["metadata"])
    fits = _guarded(lambda: sealed["seal"] == seal(sealed["metadata"], sealed["fingerprints"]))
    if not fits:
        raise Damaged("its metadata were changed")
    return sealed


def _verify(name: str, tree: Any, sealed: dict) -> None:
    if fingerprint(tree) != sealed["fingerprints"].get(name):
        raise Damaged(f"the bits of {name} were changed")


def seal(metadata: dict, fingerprints: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps([metadata, fingerprints], sort_keys=True).encode()).hexdigest()


def _guarded(read: Callable[[], Any]) -> Any:
    """What `read` returns; raises Damaged when it fails in any way.

    Broken files surface as whatever error the layer that trips over them has (JSON, zstd,
    tensorstore, missing keys), so there is no shorter list of types to name.
    """
    try:
        with patient_loops():
            return read()
    except Exception as error:
        raise Damaged(
            f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
        ) from error


def _or_user_error(path: str | os.PathLike, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Damaged as error:
        raise UserError(
            f"checkpoint {path} cannot be read ({error}); delete the model's folder, above checkpoints/, and "
            "train it again."
        ) from error


def _reader(directory: str | os.PathLike) -> ocp.CheckpointManager:
    """A manager that only reads, so that it can be used while another process trains there.

    It waits for no other process of the run.
    """
    if not epath.Path(directory).exists():
        raise UserError(f"{directory} does not exist; nothing was trained there.")
    require_files(directory)
    require_text_name(absolute(directory))
    here = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=here, active_processes={here}, barrier_sync_key_prefix=f"reader-{here}"
    )
    options = ocp.CheckpointManagerOptions(
        create=False,
        enable_async_checkpointing=False,
        multiprocessing_options=alone if jax.process_count() > 1 else ocp.options.MultiprocessingOptions(),
    )
    return ocp.CheckpointManager(absolute(directory), options=options, item_names=ITEMS)


def as_items(state: TrainState) -> dict[str, Any]:
    """The state's parts by name, without those that are None."""
    parts = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return {name: part for name, part in parts.items() if part is not None}
