"""A data set made of another shard by shard, each process its own ones."""

import itertools
from collections.abc import Callable
from typing import Any

from etils import epath

from emnat_jax.data.manifest import Manifest, describe_shard, load_manifest
from emnat_jax.data.shards import forget_plan, keep_shards_of
from emnat_jax.training.distributed import Processes

Shard = dict[str, Any]  # what describe_shard says of it, and what was counted while it was made


def make_shards(
    read: Manifest,
    output: epath.Path,
    plan: dict[str, Any],
    make: Callable[[str], dict[str, Any]],
    finish: Callable[[list[Shard]], Manifest],
    *,
    processes: Processes,
    log: Callable[[str], None],
) -> Manifest:
    """The manifest of the set `output`, whose shards have the names of those of the set `read`.

    `make` writes the shard of a name, or finds it written, and returns counts (JSON); `finish` writes the
    manifest from the descriptions and counts of all. `plan` is what the shards are made from: those of
    another plan are deleted first.
    """
    processes.agree(f"{output.name}: plan", lambda: keep_shards_of(output, plan))
    count, made = len(read.shards), []
    for index in range(processes.index, count, processes.count):
        name = read.shards[index]["name"]
        processes.enter(f"{output.name}: shard {index + 1} of {count}")
        made.append({**make(name), **describe_shard(output / name)})
        log(f"{output.name}: shard {index + 1} of {count}, {made[-1]['rows']} rows")
    shards = itertools.chain(*processes.gather(f"{output.name}: shards", made))
    order = sorted(shards, key=lambda shard: shard["name"])

    def conclude() -> None:
        finish(order)
        forget_plan(output)

    processes.agree(f"{output.name}: manifest", conclude)
    return load_manifest(output, verify_shards=False)
