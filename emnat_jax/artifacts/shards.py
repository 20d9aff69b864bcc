"""The shards of an unfinished data set: what was written before a kill is used again.

Beside each shard lies a note (`part-....json`) of its rows, its bytes and what they were made from. Without
one that fits, a shard counts as not written: an empty one, one cut off between two records, one of another
set. The notes go once the manifest is there, which says the same.
"""

import contextlib
import json
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from etils import epath

from emnat_jax.artifacts.atomic import read_file, write_text
from emnat_jax.artifacts.dataset import ShardDescription, describe_shard
from emnat_jax.artifacts.folders import entries
from emnat_jax.artifacts.manifest import file_sha256
from emnat_jax.artifacts.record_index import INDEXES
from emnat_jax.artifacts.records import SHARDS, Row, read_shard, write_shard
from emnat_jax.artifacts.sealed import digest, seal, unseal
from emnat_jax.config.convert import differences
from emnat_jax.errors import UserError

_NOTES = SHARDS.replace(".tfrecord", ".json")
PLAN_NAME = "PLAN.json"  # what the shards of an unfinished set are made from


class UnfinishedSet(NamedTuple):
    """The folder of a set that is being made, and what it is made from (`Provenance.plan`)."""

    directory: epath.Path
    plan: dict[str, Any]

    def made(self, name: str) -> ShardDescription | None:
        """The description of a shard that an earlier run wrote whole, from this plan; else None."""
        path = self.directory / name
        # A note that is damaged, in whatever way, is none.
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError, OSError):
            note = unseal(json.loads(read_file(_note_of(path))))
            shard: ShardDescription = note["shard"]
            if note["plan"] == digest(self.plan) and (shard["name"], shard["sha256"]) == (
                name,
                file_sha256(path),
            ):
                return shard
        return None

    def describe(self, name: str) -> ShardDescription:
        """As `made`, of a shard that is there; UserError where something has changed it since."""
        found = self.made(name)
        if found is None:
            raise UserError(
                f"{self.directory / name} was changed while its set was made; run the command again."
            )
        return found

    def write(self, name: str, rows: Iterable[Row]) -> ShardDescription:
        """Writes a shard, reads it again, and notes what it is."""
        path = self.directory / name
        _note_of(path).unlink(missing_ok=True)  # that of a shard that is replaced
        write_shard(path, rows)
        shard = describe_shard(path)
        write_text(_note_of(path), json.dumps(seal({"plan": digest(self.plan), "shard": shard})))
        return shard

    def read_or_make(self, name: str, make: Callable[[], Iterable[Row]]) -> list[Row]:
        """The rows of one shard: read, if an earlier run wrote all of it, else made and written."""
        if self.made(name) is not None:
            return list(read_shard(self.directory / name))
        rows = list(make())
        self.write(name, rows)
        return rows


def _note_of(shard: epath.Path) -> epath.Path:
    return shard.with_suffix(".json")


def keep_shards_of(directory: epath.PathLike, plan: dict[str, Any]) -> UnfinishedSet:
    """The set, without shards made from another plan, and with this plan written down."""
    directory = epath.Path(directory)
    path, text = directory / PLAN_NAME, json.dumps(plan, sort_keys=True)
    if path.exists() and read_file(path) == text.encode():
        return UnfinishedSet(directory, plan)
    delete_shards(directory)
    write_text(path, text)
    return UnfinishedSet(directory, plan)


def keep_plan(directory: epath.PathLike, plan: dict[str, Any]) -> None:
    """Writes what an unfinished folder is made from, until `forget_plan`."""
    write_text(epath.Path(directory) / PLAN_NAME, json.dumps(plan, sort_keys=True))


def read_plan(directory: epath.PathLike) -> dict[str, Any]:
    """What `keep_plan` or `keep_shards_of` wrote; nothing where that is lost or damaged."""
    with contextlib.suppress(ValueError, OSError, RecursionError):
        found = json.loads(read_file(epath.Path(directory) / PLAN_NAME))
        return found if isinstance(found, dict) else {}
    return {}


def named_changes(old: dict[str, Any], new: dict[str, Any]) -> str:
    """In what two plans differ, for messages."""
    if not old:
        return f"unknown: {PLAN_NAME} is lost"
    names = [name.removeprefix("options.") for name in differences(old, new)]
    return ", ".join(name.replace("fingerprints.", "the fingerprint of ", 1) for name in names)


def delete_shards(directory: epath.PathLike) -> None:
    """Removes every record file of a set, its note and its index; files of other names stay."""
    for pattern in (SHARDS, _NOTES, INDEXES):
        for path in entries(directory, pattern):
            path.unlink()


def forget_plan(directory: epath.PathLike) -> None:
    """Removes the plan and the notes of shards, once the manifest is there; nothing where there are none."""
    for path in (*entries(directory, _NOTES), *entries(directory, PLAN_NAME)):
        path.unlink()
