"""A data set made of another shard by shard, each process its own ones."""

import itertools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from etils import epath

from emnat_jax.artifacts.manifest import Manifest, describe_shard, is_finished, load_manifest
from emnat_jax.artifacts.shards import forget_plan, keep_shards_of
from emnat_jax.errors import require
from emnat_jax.runtime.mesh import DataPart
from emnat_jax.runtime.processes import Processes

Shard = dict[str, Any]  # what describe_shard says of it, and what was counted while it was made


class ShardWorkers(NamedTuple):
    """Who makes the shards of a set, and which of them this process makes."""

    processes: Processes = Processes()
    part: DataPart = DataPart(0, 1, True)
    log: Callable[[str], None] = print


def own_shards(read: Manifest, workers: ShardWorkers) -> list[str]:
    """The shards of the set `read` that this process makes."""
    names = [shard["name"] for shard in read.shards]
    return names[workers.part.index :: workers.part.count] if workers.part.writes else []


def _finished_before(output: epath.Path, plan: dict[str, Any]) -> bool:
    """Whether the set is there; if it is not, its folder holds nothing but shards of this plan."""
    if not is_finished(output):
        keep_shards_of(output, plan)
        return False
    found = load_manifest(output, verify_shards=False)
    wanted = json.loads(json.dumps(plan))
    same = (found.fingerprints, found.seed) == (wanted["fingerprints"], wanted["seed"])
    require(
        same and wanted["options"].items() <= found.options.items(),
        f"{output} is a finished set, made from something else or with other options; give a new folder.",
    )
    return True


def make_shards(
    read: Manifest,
    output: epath.Path,
    plan: dict[str, Any],
    make: Callable[[str | None], dict[str, Any]],
    finish: Callable[[list[Shard]], Manifest],
    workers: ShardWorkers,
) -> Manifest:
    """The manifest of the set `output`, whose shards have the names of those of the set `read`.

    `make` makes the shard of a name, or finds it made, and returns counts (JSON). All processes call it
    together, each for a shard of its own, and for None where none is left, so that all take the same steps
    on the devices. `finish` writes the manifest from the descriptions and counts of all. `plan` (options,
    fingerprints, seed) is what the shards are made from: those of an unfinished set with another plan are
    deleted first. A finished set is left as it is; UserError where it is not the one that is asked for.
    """
    processes, part = workers.processes, workers.part
    if processes.broadcast(f"{output.name}: plan", lambda: _finished_before(output, plan)):
        workers.log(f"{output.name}: finished before")
        return load_manifest(output)
    count, made = len(read.shards), []
    for first in range(0, count, part.count):
        index = first + part.index
        name = read.shards[index]["name"] if index < count else None
        processes.enter(f"{output.name}: shard {index + 1} of {count}")
        counted = make(name)
        if name is not None and part.writes:
            made.append({**counted, **describe_shard(output / name)})
            workers.log(f"{output.name}: shard {index + 1} of {count}, {made[-1]['rows']} rows")
    shards = itertools.chain(*processes.gather(f"{output.name}: shards", made))
    order = sorted(shards, key=lambda shard: shard["name"])

    def conclude() -> None:
        finish(order)
        forget_plan(output)

    processes.broadcast(f"{output.name}: manifest", conclude)
    return load_manifest(output, verify_shards=False)
