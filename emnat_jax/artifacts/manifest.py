"""The manifest of a data set: what it holds, what it was made from. Written last, verified on load."""

import dataclasses
import datetime
import hashlib
import itertools
import json
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict

from etils import epath

import emnat_jax
from emnat_jax.artifacts.as_json import as_json
from emnat_jax.artifacts.atomic import write_text
from emnat_jax.artifacts.records import Row, read_shard
from emnat_jax.errors import UserError

SCHEMA_VERSION = 1
MANIFEST_NAME = "MANIFEST.json"
_HASHES = 2**256  # a content hash is the sum of its rows' sha256, so that hosts can share the work
SETS = ("bitext", "mono", "distilled", "candidates", "selected")
MODEL, EXPORTED = "model", "exported"
KINDS = (*SETS, MODEL, EXPORTED)

_MAKERS = {
    "bitext": "emnat prepare",
    "mono": "emnat prepare",
    "distilled": "emnat distill",
    "candidates": "emnat distill",
    "selected": "emnat select",
    MODEL: "emnat train",
    EXPORTED: "emnat export",
}


class ShardEntry(TypedDict):
    """What a manifest says of one shard."""

    name: str
    rows: int
    sha256: str  # of the file


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


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a finished folder holds. Two runs with the same inputs differ in `created` alone."""

    kind: str  # one of KINDS
    content_hash: str  # of row ids and tokens, however they are sharded; scores and texts stay out
    rows_in: int  # == rows_out + sum of dropped
    rows_out: int
    dropped: dict[str, int]  # reason -> rows
    shards: list[ShardEntry]  # in the order of the rows
    fingerprints: dict[str, str]  # of what it was made from: vocabulary, source, model, ...
    options: dict[str, Any]  # of the command that made it
    seed: int
    package_version: str = emnat_jax.__version__
    schema_version: int = SCHEMA_VERSION
    created: str = ""  # UTC, ISO 8601

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind!r} is none of {KINDS}")
        if self.rows_in != self.rows_out + sum(self.dropped.values()):
            raise ValueError(
                f"{self.rows_in} rows in, {self.rows_out} out, dropped {self.dropped}: this does not add up"
            )
        if self.shards and sum(shard["rows"] for shard in self.shards) != self.rows_out:
            raise ValueError(f"{self.rows_out} rows out, but the shards hold another number")


def utc_now() -> str:
    """The time as manifests and journals write it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def is_finished(directory: epath.PathLike) -> bool:
    """Whether a manifest is there; `load_manifest` verifies it."""
    return (epath.Path(directory) / MANIFEST_NAME).exists()


def write_manifest(directory: epath.PathLike, manifest: Manifest) -> None:
    """Declares `directory` finished; nothing may be written there afterwards."""
    text = json.dumps(dataclasses.asdict(manifest), indent=2, sort_keys=True, ensure_ascii=False)
    write_text(epath.Path(directory) / MANIFEST_NAME, text + "\n")


def describe_shard(path: epath.PathLike) -> ShardDescription:
    """The description of a shard, all of which is read.

    ValueError where rows do not ascend; UserError where it is missing or damaged.
    """
    path, content, rows, first, last = epath.Path(path), 0, 0, None, None
    for row in read_shard(path):
        if last is not None and row.row <= last:
            raise ValueError(f"{path}: row {row.row} comes after row {last}")
        content += int.from_bytes(hashlib.sha256(_content_bytes(row)).digest())
        rows, first, last = rows + 1, row.row if first is None else first, row.row
    return ShardDescription(
        name=path.name,
        rows=rows,
        sha256=file_sha256(path),
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


def load_manifest(
    directory: epath.PathLike,
    *,
    verify_shards: bool = True,
    expect: Mapping[str, str] | None = None,
    kinds: Collection[str] = KINDS,
) -> Manifest:
    """The manifest of a finished data set or model.

    expect: name -> fingerprint that it must have been made from. kinds: what it may be. Raises UserError
    where it is unfinished, damaged, made by a newer version, of another kind, or made from something else.
    """
    directory = epath.Path(directory)
    manifest = _parse(directory / MANIFEST_NAME)
    _require_kind(directory, manifest.kind, kinds)
    for name, wanted in (expect or {}).items():
        found = manifest.fingerprints.get(name)
        if found != wanted:
            that = "use that one" if name != "vocabulary" else "prepare a workdir with that one (vocab.path)"
            raise UserError(
                f"{directory} was made from {name} {found}, but {name} {wanted} is in use; "
                f"{that}, or make the set again in a new folder (`{_MAKERS[manifest.kind]}`)."
            )
    if verify_shards:
        verify_files(directory, manifest.shards)
    return manifest


def verify_files(directory: epath.PathLike, files: Iterable[ShardEntry]) -> None:
    """UserError for a file that is missing, or is not as its manifest says."""
    for file in files:
        _verify_shard(epath.Path(directory) / file["name"], file["sha256"])


def _require_kind(directory: epath.Path, kind: str, kinds: Collection[str]) -> None:
    """UserError, saying what is there and what is wanted, for another kind."""
    if kind in kinds:
        return
    found = {MODEL: "a trained model", EXPORTED: "an exported model"}.get(kind, f"a data set ({kind})")
    if MODEL in kinds:
        wanted = "a trained model, as rounds/N/ROLE or models/ROLE in a workdir"
    else:
        wanted = f"a data set ({', '.join(kinds)})"
    also = " (translate, distill and benchmark take it)" if kind == EXPORTED else ""
    raise UserError(f"{directory} is {found}{also}; name {wanted}.")


def read_dataset(directory: epath.PathLike, manifest: Manifest | None = None) -> Iterator[Row]:
    """All rows of a finished data set in ascending order, record checksums verified."""
    directory = epath.Path(directory)
    manifest = manifest or load_manifest(directory, verify_shards=False, kinds=SETS)
    for shard in manifest.shards:
        rows = 0
        for row in read_shard(directory / shard["name"]):
            yield row
            rows += 1
        if rows != shard["rows"]:
            raise UserError(
                f"{directory / shard['name']} has {rows} rows, its manifest says {shard['rows']}; "
                f"restore the file, or delete {directory} and run `{_MAKERS[manifest.kind]}`."
            )


def _content_bytes(row: Row) -> bytes:
    """Row id, number of targets, then length and tokens of the source and of every target."""
    parts = [struct.pack("<qI", row.row, len(row.targets))]
    for tokens in (row.source, *row.targets):
        parts += [struct.pack("<I", len(tokens)), tokens.astype("<i4").tobytes()]
    return b"".join(parts)


def file_sha256(path: epath.Path) -> str:
    """The hash of a file, as manifests hold it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verify_shard(path: epath.Path, sha256: str) -> None:
    if not path.exists():
        raise UserError(f"{path} is missing; restore it, or delete {path.parent} and make it again.")
    if file_sha256(path) != sha256:
        raise UserError(
            f"{path} was changed or damaged after it was written (its sha256 is not the manifest's); "
            f"restore it, or delete {path.parent} and make it again."
        )


def _parse(path: epath.Path) -> Manifest:
    if not path.exists():
        raise UserError(
            f"{path.parent} is unfinished or not a data set (no {path.name}); "
            "run the command that makes it: emnat prepare, train, distill, select, or em for all."
        )
    try:
        fields = json.loads(path.read_bytes())
        newer = fields["schema_version"] > SCHEMA_VERSION
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged; restore it, or delete {path.parent} and make it again."
        ) from error
    if newer:
        raise UserError(
            f"{path} has schema version {fields['schema_version']}, "
            f"this emnat_jax reads up to {SCHEMA_VERSION}; update the package."
        )
    try:
        return Manifest(**fields)
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} is damaged ({error}); restore it, or delete {path.parent} and make it again."
        ) from error
