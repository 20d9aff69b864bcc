"""Sets of rows: their shards described, declared finished, and read."""

import dataclasses
import hashlib
import itertools
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from emnat_jax.artifacts.as_json import as_json
from emnat_jax.artifacts.manifest import (
    MAKERS,
    SETS,
    Manifest,
    ShardEntry,
    load_manifest,
    utc_now,
    write_manifest,
)
from emnat_jax.artifacts.record_index import index_path, index_writer
from emnat_jax.artifacts.records import Row, read_shard, read_sized
from emnat_jax.errors import UserError

_HASHES = 2**256  # a content hash is the sum of its rows' sha256, so that hosts can share the work


class ShardDescription(ShardEntry):
    """What `finish_dataset` also needs of a shard; JSON, so that hosts can send it."""

    first: int | None  # row number; None in a shard without rows
    last: int | None
    content: str  # hexadecimal content hash of its rows


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What a data set is made from, and how."""

    kind: str  # one of KINDS
    fingerprints: Mapping[str, str]  # of what it is made from: vocabulary, source, model, ...
    options: Mapping[str, Any]  # of the command that makes it
    seed: int

    def with_options(self, options: Mapping[str, Any]) -> "Provenance":
        """The same with more options."""
        return dataclasses.replace(self, options={**self.options, **options})

    def plan(self) -> dict[str, Any]:
        """Identifies what an unfinished set's shards were made from."""
        return {"options": self.options, "fingerprints": self.fingerprints, "seed": self.seed}


def describe_shard(path: epath.PathLike) -> ShardDescription:
    """The description of a shard, all of which is read; its index (`record_index.py`) is written on the way.

    UserError where it is missing or damaged, and where rows do not ascend.
    """
    path, content, rows, first, last = epath.Path(path), 0, 0, None, None
    digest = hashlib.sha256()
    with index_writer(index_path(path)) as index:
        for row, size in read_sized(path, digest=digest):
            content += int.from_bytes(hashlib.sha256(_content_bytes(row)).digest())
            rows, first, last = rows + 1, row.row if first is None else first, row.row
            index.add(row, size)
        index.finish(digest.hexdigest())
    return ShardDescription(
        name=path.name,
        rows=rows,
        sha256=digest.hexdigest(),
        first=first,
        last=last,
        content=f"{content % _HASHES:064x}",
    )


def finish_dataset(
    directory: epath.PathLike,
    provenance: Provenance,
    *,
    shards: Sequence[ShardDescription],
    rows_in: int,
    dropped: Mapping[str, int],
) -> Manifest:
    """Checks that no row is lost or doubled, and writes the manifest.

    `shards` are in the order of their rows. `rows_in` counts the rows of the set this one was made from.
    ValueError where rows do not ascend or do not add up.
    """
    ends = [(s["name"], s["first"], s["last"]) for s in shards]
    filled = [(name, first, last) for name, first, last in ends if first is not None and last is not None]
    for (_, _, before), (name, first, _) in itertools.pairwise(filled):
        if first <= before:
            raise ValueError(f"{name}: row {first} comes after row {before}")
    content = sum(int(shard["content"], 16) for shard in shards) % _HASHES
    manifest = Manifest(
        kind=provenance.kind,
        content_hash=f"{content:064x}",
        rows_in=rows_in,
        rows_out=sum(shard["rows"] for shard in shards),
        dropped=dict(dropped),
        shards=[ShardEntry(name=s["name"], rows=s["rows"], sha256=s["sha256"]) for s in shards],
        fingerprints=dict(provenance.fingerprints),
        options=as_json(dict(provenance.options)),
        seed=provenance.seed,
        created=utc_now(),
    )
    write_manifest(directory, manifest)
    return manifest


def read_dataset(directory: epath.PathLike) -> Iterator[Row]:
    """All rows of a finished data set in ascending order, shards and records verified as they are read."""
    manifest = load_manifest(directory, verify_shards=False, kinds=SETS)
    for shard in manifest.shards:
        yield from read_part(directory, manifest, shard["name"])


def read_part(directory: epath.PathLike, manifest: Manifest, name: str) -> Iterator[Row]:
    """The rows of one shard of a finished data set, as `read_dataset` reads them."""
    directory, rows = epath.Path(directory), 0
    shard = next(shard for shard in manifest.shards if shard["name"] == name)
    for row in read_shard(directory / name, shard["sha256"]):
        yield row
        rows += 1
    if rows != shard["rows"]:
        raise UserError(
            f"{directory / name} has {rows} rows, its manifest says {shard['rows']}; "
            f"restore the file, or delete {directory} and run `{MAKERS[manifest.kind]}`."
        )


def _content_bytes(row: Row) -> bytes:
    """Row id, number of targets, then length and tokens of the source and of every target."""
    parts = [struct.pack("<qI", row.row, len(row.targets))]
    for tokens in (row.source, *row.targets):
        parts += [struct.pack("<I", len(tokens)), tokens.astype("<i4").tobytes()]
    return b"".join(parts)
