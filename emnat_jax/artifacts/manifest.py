"""The manifest of a data set: what it holds, what it was made from. Written last, verified on load."""

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypedDict

from etils import epath

import emnat_jax
from emnat_jax.artifacts.as_json import as_json
from emnat_jax.artifacts.atomic import open_file, read_file, write_text
from emnat_jax.artifacts.sealed import CHECKSUM, seal, unseal
from emnat_jax.errors import UserError, explain
from emnat_jax.report.convert import from_json

SCHEMA_VERSION = 2
FREE = ("created",)  # two runs with the same inputs have the same checksum
MANIFEST_NAME = "MANIFEST.json"
SETS = ("bitext", "mono", "distilled", "candidates", "selected")
MODEL, EXPORTED = "model", "exported"
KINDS = (*SETS, MODEL, EXPORTED)

MAKERS = {
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
        for shard in self.shards:
            _require_inside(shard["name"], one_folder=self.kind in SETS)
        if self.shards and sum(shard["rows"] for shard in self.shards) != self.rows_out:
            raise ValueError(f"{self.rows_out} rows out, but the shards hold another number")
        if self.kind == MODEL:
            _require_steps(self.options)


def _require_steps(options: Mapping[str, Any]) -> None:
    """ValueError where a model does not say after which steps its weights were saved, and their loss."""
    step, loss = options.get("step", 0), options.get("valid_loss")
    chosen = options.get("chosen")
    if chosen is None:
        chosen = {"steps": [step]}
    steps = chosen.get("steps") if isinstance(chosen, dict) else None
    is_list = isinstance(steps, list | tuple) and len(steps) > 0
    if not is_list or not all(type(one) is int for one in (*(steps or ()), step)):
        raise ValueError("its steps are no whole numbers")
    if loss is not None and type(loss) not in (int, float):
        raise ValueError(f"valid_loss is {loss!r}, not a number")


def _require_inside(name: str, *, one_folder: bool) -> None:
    """ValueError for the name of a file that does not lie in the folder of its manifest."""
    parts = name.split("/")
    if "\\" in name or not {"", ".", ".."}.isdisjoint(parts) or (one_folder and len(parts) > 1):
        raise ValueError(f"the file name {name!r} leads out of its folder")


def utc_now() -> str:
    """The time as manifests and journals write it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def is_finished(directory: epath.PathLike) -> bool:
    """Whether a manifest is there; `load_manifest` verifies it."""
    return (epath.Path(directory) / MANIFEST_NAME).exists()


def write_manifest(directory: epath.PathLike, manifest: Manifest) -> None:
    """Declares `directory` finished; nothing may be written there afterwards."""
    values = seal(as_json(dataclasses.asdict(manifest)), FREE)
    text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False)
    write_text(epath.Path(directory) / MANIFEST_NAME, text + "\n")


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
                f"{that}, or make the set again in a new folder (`{MAKERS[manifest.kind]}`)."
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


def file_sha256(path: epath.PathLike) -> str:
    """The hash of a file, as manifests hold it."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verify_shard(path: epath.Path, sha256: str) -> None:
    if not path.exists():
        raise UserError(f"{path} is missing; restore it, or delete {path.parent} and make it again.")
    try:
        with open_file(path) as file:
            verify_content(path, file, sha256)
    except OSError as error:
        raise UserError(
            f"{explain(error)}: restore the file, or delete {path.parent} and make it again."
        ) from error


def verify_content(path: epath.Path, file: Any, sha256: str) -> None:
    """UserError unless what is left to read of a binary file, the content of `path`, has this hash."""
    if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
        raise UserError(
            f"{path} was changed or damaged after it was written (its sha256 is not the manifest's); "
            f"restore it, or delete {path.parent} and make it again."
        )


def _parse(path: epath.Path) -> Manifest:
    if not path.exists():
        what = (
            "is unfinished, or neither a data set nor a model" if path.parent.exists() else "does not exist"
        )
        raise UserError(
            f"{path.parent} {what} (no {path.name}); check the name, or run the command that makes it: emnat "
            "prepare, train, distill, score, select, or em for all."
        )
    mend = f"restore it, or delete {path.parent} and make it again."
    try:
        fields = json.loads(read_file(path))
        version = fields["schema_version"]
        if version <= SCHEMA_VERSION:
            is_sealed = version > 1 or CHECKSUM in fields  # manifests had no checksum before
            fields = unseal(fields, FREE) if is_sealed else fields
    except (ValueError, KeyError, TypeError, RecursionError, OSError) as error:
        raise UserError(f"{path} is damaged ({_reason(error)}); {mend}") from error
    if version > SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema version {version}, "
            f"this emnat_jax reads up to {SCHEMA_VERSION}; update the package."
        )
    if fields.get("kind") == "vocabulary":  # it has a manifest of its own
        raise UserError(f"{path.parent} is a vocabulary, and neither a data set nor a model; name another.")
    try:
        return from_json(Manifest, fields, str(path), mend)
    except UserError:  # which says all of that
        raise
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); {mend}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error) if isinstance(error, ValueError) else "it does not have the fields of a manifest"
