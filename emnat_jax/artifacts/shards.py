"""The shards of an unfinished data set: what was written before a kill is used again."""

import collections
import contextlib
import json
from collections.abc import Callable, Iterable
from typing import Any

from etils import epath

from emnat_jax.artifacts.atomic import write_text
from emnat_jax.artifacts.records import Row, read_shard, write_shard
from emnat_jax.config.convert import differences
from emnat_jax.errors import UserError

PLAN_NAME = "PLAN.json"  # what the shards of an unfinished set are made from


def keep_shards_of(directory: epath.PathLike, plan: dict[str, Any]) -> None:
    """Deletes shards made from another plan, and writes this plan."""
    directory = epath.Path(directory)
    path, text = directory / PLAN_NAME, json.dumps(plan, sort_keys=True)
    if path.exists() and path.read_text() == text:
        return
    delete_shards(directory)
    write_text(path, text)


def keep_plan(directory: epath.PathLike, plan: dict[str, Any]) -> None:
    """Writes what an unfinished folder is made from, until `forget_plan`."""
    write_text(epath.Path(directory) / PLAN_NAME, json.dumps(plan, sort_keys=True))


def read_plan(directory: epath.PathLike) -> dict[str, Any]:
    """What `keep_plan` or `keep_shards_of` wrote; nothing where that is lost or damaged."""
    with contextlib.suppress(ValueError, OSError):
        found = json.loads((epath.Path(directory) / PLAN_NAME).read_bytes())
        return found if isinstance(found, dict) else {}
    return {}


def named_changes(old: dict[str, Any], new: dict[str, Any]) -> str:
    """In what two plans differ, for messages."""
    if not old:
        return f"unknown: {PLAN_NAME} is lost"
    names = [name.removeprefix("options.") for name in differences(old, new)]
    return ", ".join(name.replace("fingerprints.", "the fingerprint of ", 1) for name in names)


def delete_shards(directory: epath.PathLike) -> None:
    """Removes every record file of a set."""
    for shard in epath.Path(directory).glob("part-*"):
        shard.unlink()


def forget_plan(directory: epath.PathLike) -> None:
    """Removes what `keep_shards_of` wrote, once the manifest is there."""
    (epath.Path(directory) / PLAN_NAME).unlink(missing_ok=True)


def is_whole(path: epath.PathLike) -> bool:
    """Whether an earlier run wrote all of the shard; a damaged one counts as not written."""
    if not epath.Path(path).exists():
        return False
    with contextlib.suppress(UserError):
        collections.deque(read_shard(path), maxlen=0)
        return True
    return False


def read_or_make(path: epath.PathLike, make: Callable[[], Iterable[Row]]) -> list[Row]:
    """The rows of one shard: read, if an earlier run wrote all of it, else made and written."""
    path = epath.Path(path)
    if path.exists():
        with contextlib.suppress(UserError):  # a damaged file is made again
            return list(read_shard(path))
    rows = list(make())
    write_shard(path, rows)
    return rows
