"""Checkpoints that survive a kill at any moment and are verified when read.

A checkpoint is committed by a rename, so an interrupted one is never seen. Its metadata hold a
SHA-256 of every array and of themselves, which is verified on restoring. The only file that
imports orbax.
"""

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Callable, Collection
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint.checkpoint_managers import preservation_policy

from emnat_jax.artifacts.atomic import absolute
from emnat_jax.errors import UserError, require
from emnat_jax.runtime.event_loop import patient_loops
from emnat_jax.runtime.progress import Log
from emnat_jax.training.fingerprint import fingerprint
from emnat_jax.training.state import TrainState
from emnat_jax.types import Params

KEEP_LATEST = 2  # the older one is there in case that the newest turns out to be damaged
ITEMS = ("state", "metadata")
MADE_FROM = "made_from"  # in the metadata: what a training was begun with


class Damaged(Exception):
    """A checkpoint whose bits are not those that were saved."""


@dataclasses.dataclass
class _KeepLatestAnd(preservation_policy.PreservationPolicy):
    """Preserves the latest checkpoints and those of `steps`."""

    steps: Collection[int]

    def should_preserve(self, checkpoints: Any, *, context: Any) -> list[bool]:
        latest = [info.step for info in checkpoints][-KEEP_LATEST:]
        return [info.step in latest or info.step in self.steps for info in checkpoints]


class Checkpoints:
    """The checkpoints of one training run: the two latest and those that `save` names.

    Use it as a context; leaving it waits for the last save. All processes must call every method.
    """

    def __init__(self, directory: str | os.PathLike):
        self._directory = os.fspath(absolute(directory))
        self._policy = _KeepLatestAnd(())
        options = ocp.CheckpointManagerOptions(preservation_policy=self._policy, cleanup_tmp_directories=True)
        self._manager = ocp.CheckpointManager(self._directory, options=options, item_names=ITEMS)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def steps(self) -> list[int]:
        """The steps that were saved whole, in increasing order."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: TrainState, metadata: dict, *, keep: Collection[int] = ()) -> None:
        """Saves in the background; the arrays may be donated as soon as this returns.

        `metadata` must be JSON. `keep` are steps whose checkpoints outlive newer ones until others
        are named. Raises UserError when this save or the last could not be written.
        """
        items = _as_items(state)
        marks = {name: fingerprint(item) for name, item in items.items()}
        sealed = {"metadata": metadata, "fingerprints": marks, "seal": _seal(metadata, marks)}
        args = ocp.args.Composite(state=ocp.args.StandardSave(items), metadata=ocp.args.JsonSave(sealed))
        self.wait()  # the last save may still be deleting, by the policy it was given
        self._policy.steps = keep
        saved = self._write(lambda: self._manager.save(step, args=args))
        assert saved, f"step {step} is already in {self._directory}"

    def restore(self, abstract: TrainState, log: Log = logging.warning) -> tuple[TrainState, dict] | None:
        """State and metadata of the latest good checkpoint; None without any. `abstract` has the shardings.

        Damaged newer ones are reported to `log` and deleted, so that their steps can be saved anew.
        Raises UserError, and deletes nothing, when there are checkpoints and none is good.
        """
        damaged = []
        for step in reversed(self.steps()):
            try:
                restored = _restore_whole(self._manager, f"{self._directory}/{step}", step, abstract)
            except Damaged as error:
                log(f"checkpoint {self._directory}/{step} is damaged ({error}); trying the one before")
                damaged.append(step)
                continue
            for broken in damaged:
                self._manager.delete(broken)
            return restored
        if damaged:
            raise UserError(
                f"no checkpoint in {self._directory} can be read (damaged, or of another model); "
                f"delete that directory to train from the start."
            )
        return None

    def wait(self) -> None:
        """Returns when the last save is committed; raises UserError when it could not be written."""
        self._write(self._manager.wait_until_finished)

    def close(self) -> None:
        """Waits for the last save and frees the threads."""
        try:
            self.wait()
        finally:
            self._manager.close()

    def _write(self, write: Callable[[], Any]) -> Any:
        """What `write` returns; a full disk becomes a UserError."""
        try:
            return write()
        except Exception as error:  # tensorstore reports a failed write as ValueError, orbax as OSError
            if "No space left" in str(error) or "quota exceeded" in str(error):
                raise UserError(
                    f"cannot save a checkpoint in {self._directory}: no space left on the disk; free some "
                    f"and run the same command again, it goes on from the last whole checkpoint."
                ) from error
            raise


def saved_steps(directory: str | os.PathLike) -> list[int]:
    """The steps of the checkpoints in `directory`, in increasing order; none where it is not there.

    On a disk all were saved whole: an unfinished one has another name.
    """
    folders = epath.Path(directory).glob("*")
    return sorted(int(path.name) for path in folders if path.name.isdigit() and path.is_dir())


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
        return _or_user_error(path, lambda: _restore_whole(manager, path, step, abstract)[0])


def _restore_whole(
    manager: ocp.CheckpointManager, path: str, step: int, abstract: TrainState
) -> tuple[TrainState, dict]:
    """State and metadata; raises Damaged."""
    sealed = _read_metadata(manager, step)
    _require_same_model(path, "params", abstract.params)
    restore = ocp.args.StandardRestore(_as_items(abstract))
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
    restore = ocp.args.PyTreeRestore(
        item, restore_args=ocp.checkpoint_utils.construct_restore_args(item), partial_restore=True
    )
    params = _guarded(lambda: manager.restore(step, args=ocp.args.Composite(state=restore))["state"][name])
    _verify(name, params, sealed)
    return params


def _require_same_model(path: str, name: str, abstract: Params) -> None:
    """UserError where the parameters `name` of a checkpoint have other names or shapes than these."""
    saved = _guarded(lambda: ocp.PyTreeCheckpointHandler().metadata(epath.Path(path) / "state").tree[name])
    has, wants = (
        {jax.tree_util.keystr(key): tuple(leaf.shape) for key, leaf in jax.tree.leaves_with_path(tree)}
        for tree in (saved, abstract)
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
    fits = _guarded(lambda: sealed["seal"] == _seal(sealed["metadata"], sealed["fingerprints"]))
    if not fits:
        raise Damaged("its metadata were changed")
    return sealed


def _verify(name: str, tree: Any, sealed: dict) -> None:
    if fingerprint(tree) != sealed["fingerprints"].get(name):
        raise Damaged(f"the bits of {name} were changed")


def _seal(metadata: dict, fingerprints: dict[str, str]) -> str:
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


def _as_items(state: TrainState) -> dict[str, Any]:
    """The state's parts by name, without those that are None."""
    parts = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return {name: part for name, part in parts.items() if part is not None}
