"""Finished sets before they are read from: shards verified, indexes there. The processes share the work."""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from etils import epath

from emnat_jax.artifacts.manifest import KINDS, Manifest, ShardEntry, load_manifest, verify_files
from emnat_jax.artifacts.record_files import Shard, State, file_state
from emnat_jax.artifacts.record_index import index_fits, index_path, write_index
from emnat_jax.errors import UserError
from emnat_jax.runtime.processes import Processes
from emnat_jax.runtime.progress import Log

_THREADS = 4  # that hash files side by side


class StoredSet(NamedTuple):
    """A finished set."""

    directory: epath.Path
    manifest: Manifest
    states: tuple[State | None, ...] = ()  # of its shards when they were verified

    def shards(self) -> list[Shard]:
        """Its files, in the order of the rows."""
        states = self.states or (None,) * len(self.manifest.shards)
        named = zip(self.manifest.shards, states, strict=True)
        return [Shard(self.directory / entry["name"], entry["sha256"], state) for entry, state in named]


class _Shard(NamedTuple):
    path: epath.Path
    entry: ShardEntry


def load_verified(
    directory: epath.PathLike,
    processes: Processes,
    *,
    expect: Mapping[str, str] | None = None,
    kinds: Collection[str] = KINDS,
) -> Manifest:
    """As `load_manifest`, of a set whose shards the processes verify together: each reads its share."""
    manifest = load_manifest(directory, verify_shards=False, expect=expect, kinds=kinds)
    verify_sets([StoredSet(epath.Path(directory), manifest)], processes)
    return manifest


def verify_sets(sets: Sequence[StoredSet], processes: Processes) -> list[StoredSet]:
    """The sets, whose files are refused from now on where they are changed.

    UserError on all processes for the first shard that is missing, or is not as its manifest says. Each
    process reads its share of the shards, all of them together every shard once.
    """
    noted = [one._replace(states=tuple(file_state(shard.path) for shard in one.shards())) for one in sets]

    def problem(shard: _Shard) -> str | None:
        try:
            verify_files(shard.path.parent, [shard.entry])
        except UserError as error:
            return str(error)
        return None

    found = _by_all(problem, _shards_of(sets), processes, "shards verified")
    if found:
        raise UserError(found[min(found)])
    return noted


def ensure_indexes(
    sets: Sequence[StoredSet], folder: epath.PathLike, processes: Processes, log: Log
) -> dict[epath.Path, epath.Path]:
    """The index of each shard of verified sets; where one lacks or is damaged it is made and kept beside it.

    Where the folder of a set cannot be written, each process makes its own in `folder`.
    """
    folder, shards = epath.Path(folder), _shards_of(sets)

    def problem(shard: _Shard) -> str | None:
        path = index_path(shard.path)
        if index_fits(path, shard.entry):
            return None
        log(f"{shard.path} has no index; makes it")
        try:
            write_index(shard.path, shard.entry["sha256"], path)
        except (UserError, OSError) as error:  # a set that somebody else has made
            return str(error)
        return None

    found = _by_all(problem, shards, processes, "indexes")
    indexes = {shard.path: index_path(shard.path) for shard in shards}
    for number in found:
        shard = shards[number]
        indexes[shard.path] = folder / str(number)
        write_index(shard.path, shard.entry["sha256"], indexes[shard.path])
    return indexes


def _shards_of(sets: Sequence[StoredSet]) -> list[_Shard]:
    return [_Shard(one.directory / entry["name"], entry) for one in sets for entry in one.manifest.shards]


def _by_all(
    problem: Callable[[_Shard], str | None], shards: Sequence[_Shard], processes: Processes, name: str
) -> dict[int, str]:
    """Number of a shard -> what is wrong with it, as that process has found which has it in its share."""
    own = range(processes.index, len(shards), processes.count)
    with ThreadPoolExecutor(_THREADS) as threads:
        said = threads.map(problem, [shards[number] for number in own])
        found = {number: text for number, text in zip(own, said, strict=True) if text is not None}
    gathered = processes.gather(name, list(found.items()))
    return {number: text for part in gathered for number, text in part}
