"""Checkpoints that survive a kill at any moment and are verified when read.

A checkpoint is committed by a rename, so an interrupted one is never seen. Its metadata hold a
SHA-256 of every array and of themselves, which `restore` verifies. Only these two files import orbax.
"""

import contextlib
import dataclasses
import logging
import os
from collections.abc import Callable, Collection
from typing import Any

import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from emnat_jax.artifacts.atomic import absolute
from emnat_jax.artifacts.folders import require_files, require_plain_name
from emnat_jax.errors import UserError
from emnat_jax.runtime.progress import Log
from emnat_jax.training.fingerprint import fingerprint
from emnat_jax.training.restore import ITEMS, Damaged, as_items, restore_whole, seal
from emnat_jax.training.save_messages import FULL, quiet_saves
from emnat_jax.training.state import TrainState

KEEP_LATEST = 2  # the older one is there in case that the newest turns out to be damaged
MADE_FROM = "made_from"  # in the metadata: what a training was begun with


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
    UserError for a directory that `require_plain_name` or `require_files` refuses.
    """

    def __init__(self, directory: str | os.PathLike):
        require_plain_name(absolute(directory))
        require_files(directory)
        self._directory = os.fspath(absolute(directory))
        self._policy = _KeepLatestAnd(())
        self._quiet = contextlib.ExitStack()
        self._quiet.enter_context(quiet_saves())
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
        items = as_items(state)
        marks = {name: fingerprint(item) for name, item in items.items()}
        sealed = {"metadata": metadata, "fingerprints": marks, "seal": seal(metadata, marks)}
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
                restored = restore_whole(self._manager, f"{self._directory}/{step}", step, abstract)
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

    def delete_others(self, keep: Collection[int]) -> None:
        """Deletes what the last `save` would have, naming these steps, had it come to its end."""
        steps = self.steps()
        for step in steps[:-KEEP_LATEST]:
            if step not in keep:
                self._manager.delete(step)

    def wait(self) -> None:
        """Returns when the last save is committed; raises UserError when it could not be written."""
        self._write(self._manager.wait_until_finished)

    def close(self) -> None:
        """Waits for the last save and frees the threads."""
        try:
            self.wait()
        finally:
            self._manager.close()
            self._quiet.close()

    def _write(self, write: Callable[[], Any]) -> Any:
        """What `write` returns; a full disk becomes a UserError."""
        try:
            return write()
        except Exception as error:  # tensorstore reports a failed write as ValueError, orbax as OSError
            if any(words in str(error) for words in FULL):
                raise UserError(
                    f"cannot save a checkpoint in {self._directory}: no space left on the disk; free some "
                    f"and run the same command again, it goes on from the last whole checkpoint."
                ) from error
            raise
