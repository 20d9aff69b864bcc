"""A data set made of another one shard by shard; each process makes its own shards."""

import collections
import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from etils import epath

from emnat_jax.artifacts.as_json import as_json
from emnat_jax.artifacts.dataset import Provenance, finish_dataset
from emnat_jax.artifacts.folders import entries
from emnat_jax.artifacts.manifest import Manifest, is_finished, load_manifest
from emnat_jax.artifacts.records import SHARDS
from emnat_jax.artifacts.shards import (
    UnfinishedSet,
    forget_plan,
    keep_shards_of,
    named_changes,
    read_plan,
)
from emnat_jax.data.stored_sets import load_verified
from emnat_jax.errors import require
from emnat_jax.runtime.mesh import DataPart
from emnat_jax.runtime.processes import Processes
from emnat_jax.runtime.progress import Log

Counts = Mapping[str, int | float]  # those of all shards are added up


class ShardWorkers(NamedTuple):
    """The processes that make the shards of a data set, and the part of them that this process makes."""

    processes: Processes = Processes()
    part: DataPart = DataPart(0, 1, True)
    log: Log = print
    # Whether shards of an unfinished set with another provenance give way; else they are a UserError.
    starts_over: bool = True

    def own_shards(self, source: Manifest) -> list[str]:
        """Names of the shards of the set `source` from which this process writes new ones."""
        names = [shard["name"] for shard in source.shards]
        return names[self.part.index :: self.part.count] if self.part.writes else []


class Conclusion(NamedTuple):
    """What the manifest of a set says that is known only when all of its shards are made."""

    dropped: dict[str, int]  # reason -> rows
    options: dict[str, Any]  # beside those of the provenance, e.g. statistics


def derive_dataset(
    source: Manifest,
    output: epath.Path,
    provenance: Provenance,
    *,
    make_shard: Callable[[UnfinishedSet, str | None], Counts],
    conclude: Callable[[int, Counts], Conclusion],
    workers: ShardWorkers,
) -> Manifest:
    """Makes the set `output`, whose shards have the names of those of the set `source`.

    `make_shard` makes the shard of a name, or finds it made, and returns counts. All processes call it
    together, each for a shard of its own, and for None where none is left, so that all take the same steps
    on the devices. `conclude` gets the number of rows made and the counts of all shards. Shards of an
    unfinished set with another provenance are deleted first if the workers start over. A finished set is left
    as it is. UserError where its provenance is another one.
    """
    processes, name = workers.processes, output.name
    if processes.broadcast(f"{name}: plan", lambda: _is_finished(output, provenance, workers)):
        workers.log(f"{name}: finished before")
        return load_verified(output, processes)
    unfinished = UnfinishedSet(output, as_json(provenance.plan()))
    made = _make_own_shards(source, unfinished, make_shard, workers)
    shards = list(itertools.chain(*processes.gather(f"{name}: shards", made)))
    shards.sort(key=lambda shard: shard["description"]["name"])

    def finish() -> None:
        counts: collections.Counter[str] = collections.Counter()
        for shard in shards:
            counts.update(shard["counts"])
        descriptions = [shard["description"] for shard in shards]
        conclusion = conclude(sum(shard["rows"] for shard in descriptions), counts)
        finish_dataset(
            output,
            provenance.with_options(conclusion.options),
            shards=descriptions,
            rows_in=source.rows_out,
            dropped=conclusion.dropped,
        )
        forget_plan(output)

    processes.broadcast(f"{name}: manifest", finish)
    return load_manifest(output, verify_shards=False)


def _make_own_shards(
    source: Manifest,
    unfinished: UnfinishedSet,
    make_shard: Callable[[UnfinishedSet, str | None], Counts],
    workers: ShardWorkers,
) -> list[dict[str, Any]]:
    """Description and counts of each shard that this process has written."""
    part, count, output, made = workers.part, len(source.shards), unfinished.directory.name, []
    for first in range(0, count, part.count):
        index = first + part.index
        name = source.shards[index]["name"] if index < count else None
        workers.processes.enter(f"{output}: shard {index + 1} of {count}")
        counts = make_shard(unfinished, name)
        if name is not None and part.writes:
            description = unfinished.describe(name)
            made.append({"description": description, "counts": dict(counts)})
            workers.log(f"{output}: shard {index + 1} of {count}, {description['rows']} rows")
    return made


def _is_finished(output: epath.Path, provenance: Provenance, workers: ShardWorkers) -> bool:
    """Whether the set is finished; if not, its folder keeps shards of this provenance only."""
    wanted = as_json(provenance.plan())
    if not is_finished(output):
        plan = read_plan(output)
        changed = named_changes(plan, wanted)
        if made := entries(output, SHARDS) if changed else []:
            half_done = f"{output} holds {len(made)} shards made from something else ({changed})"
            require(
                workers.starts_over,
                f"{half_done}. Go on with those options, give a new folder, or delete this one.",
            )
            workers.log(f"{half_done}; deletes them and starts from the beginning")
        keep_shards_of(output, wanted)
        return False
    found = load_manifest(output, verify_shards=False)
    ours = {name: found.options[name] for name in wanted["options"] if name in found.options}
    changed = named_changes({"options": ours, "fingerprints": found.fingerprints, "seed": found.seed}, wanted)
    require(
        not changed,
        f"{output} is a finished set, made from something else or with other options; different: {changed}; "
        "give a new folder.",
    )
    forget_plan(output)  # which a kill after the manifest has left
    return True
