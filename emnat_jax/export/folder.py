"""The folder of an exported model: its files, its vocabulary and, written last, its manifest."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.manifest import (
    EXPORTED,
    MANIFEST_NAME,
    Manifest,
    ShardEntry,
    file_sha256,
    is_finished,
    load_manifest,
    utc_now,
    verify_files,
    write_manifest,
)
from emnat_jax.config import ModelSpec
from emnat_jax.config.checks import NotInTable
from emnat_jax.config.convert import from_dict, to_dict
from emnat_jax.data.vocab import Vocabulary, load_vocabulary
from emnat_jax.errors import UserError, require

PRECISIONS = ("int8", "float32")
_KINDS = {
    "onnx": {".onnx"},
    "ctranslate2": {".bin", ".json"},
    "stablehlo": {".stablehlo", ".npz"},
}  # of files


@dataclasses.dataclass(frozen=True)
class About:
    """What an exported model is."""

    format: str  # onnx, ctranslate2 or stablehlo
    model: ModelSpec  # with the decoder that it has
    buckets: tuple[int, ...]  # widths of sources that the model was trained and compiled with
    precisions: tuple[str, ...]  # that it can be loaded with
    precision: str  # what it is loaded with unless another is asked for
    parity: dict[str, Any]  # what was measured when it was exported (docs/guides/export.md)
    shortlist: int | None = None  # of int8: words for each word of the source; None: the whole vocabulary


class Exported(NamedTuple):
    """A finished folder, whose files for one precision are as they were written."""

    directory: epath.Path
    about: About
    vocabulary: Vocabulary
    fingerprint: str  # of its files
    model: str  # fingerprint of the parameters of the model that was exported


def require_own(directory: epath.Path, format: str) -> None:
    """UserError where a folder holds files that an export of this format does not write.

    They would count as its own: those of another format, say, whose export was killed here.
    """
    found = _files(directory) if directory.exists() else []
    others = [name for name in found if pathlib.PurePath(name).suffix not in _KINDS[format]]
    require(
        not others,
        f"{directory} holds {', '.join(others[:3])}, not of the format {format}; export to another --output, "
        "or move away what is there.",
    )


def finish_export(
    directory: epath.PathLike, about: About, vocabulary: Vocabulary, model: str, seed: int
) -> None:
    """Writes the vocabulary and the manifest, which declares the folder finished.

    `model` is the fingerprint of the parameters.
    """
    directory = epath.Path(directory)
    vocabulary.save(directory / paths.VOCABULARY)
    files = [
        ShardEntry(name=name, rows=0, sha256=file_sha256(directory / name)) for name in _files(directory)
    ]
    content = hashlib.sha256("".join(file["sha256"] for file in files).encode()).hexdigest()
    manifest = Manifest(
        kind=EXPORTED,
        content_hash=content,
        rows_in=0,
        rows_out=0,
        dropped={},
        shards=files,
        fingerprints={"model": model, "vocabulary": vocabulary.fingerprint},
        options=to_dict(about),
        seed=seed,
        created=utc_now(),
    )
    write_manifest(directory, manifest)


def is_exported(directory: epath.PathLike) -> bool:
    """Whether a folder is that of an exported model, finished, rather than of one that JAX trains."""
    return is_finished(directory) and load_manifest(directory, verify_shards=False).kind == EXPORTED


def open_export(directory: epath.PathLike, precision: str | None = None) -> Exported:
    """A finished folder, to be loaded with this precision (None: its own).

    UserError for another folder, for a precision that it does not have, and where a file that is needed for
    it is missing or damaged, or one of its kind is there that the manifest does not know, which whatever runs
    the model might read; those of its other precisions are not read.
    """
    directory = epath.Path(directory)
    manifest = load_manifest(directory, verify_shards=False)
    require(manifest.kind == EXPORTED, f"{directory} is no exported model; make one with `emnat export`.")
    vocabulary = load_vocabulary(directory / paths.VOCABULARY)
    about = _about(directory, manifest.options)
    others = {f"{other}.onnx" for other in about.precisions if other != chosen_precision(about, precision)}
    verify_files(directory, (file for file in manifest.shards if file["name"] not in others))
    _require_known(directory, {file["name"] for file in manifest.shards})
    made_of = manifest.fingerprints
    require(
        made_of.get("vocabulary") == vocabulary.fingerprint,
        f"{directory / paths.VOCABULARY} is not the vocabulary of this model; export it again.",
    )
    return Exported(directory, about, vocabulary, manifest.content_hash, made_of.get("model", ""))


def _about(directory: epath.Path, options: dict[str, Any]) -> About:
    """What the manifest says; UserError where it is damaged."""
    try:
        return About(
            format=str(options["format"]),
            model=from_dict(options["model"], ModelSpec, "model."),
            buckets=tuple(map(int, options["buckets"])),
            precisions=tuple(map(str, options["precisions"])),
            precision=str(options["precision"]),
            parity=dict(options["parity"]),
            shortlist=options.get("shortlist"),
        )
    except NotInTable as error:
        raise UserError(f"{directory / MANIFEST_NAME}: {error}") from error
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(
            f"{directory / MANIFEST_NAME} is damaged ({error}); delete the folder and export again."
        ) from error


def chosen_precision(about: About, precision: str | None) -> str:
    """The precision that is asked for, or the model's own; UserError for one that it does not have."""
    chosen = precision or about.precision
    if chosen not in about.precisions:
        raise UserError(f"precision {chosen!r}: this model has {', '.join(about.precisions)}.")
    return chosen


def _require_known(directory: epath.Path, names: set[str]) -> None:
    """UserError for a file of the kinds of these that is none of them."""
    kinds = {pathlib.PurePath(name).suffix for name in names}
    others = [
        name for name in _files(directory) if name not in names and pathlib.PurePath(name).suffix in kinds
    ]
    require(
        not others,
        f"{directory} holds {', '.join(others)}, of which its manifest does not know; move it away.",
    )


def _files(directory: epath.Path) -> Sequence[str]:
    """Names of the files of the model, those of folders inside it with their path."""
    found = []
    for path in sorted(directory.iterdir()):
        if path.name.startswith(".") or path.name in (MANIFEST_NAME, paths.VOCABULARY):
            continue
        found += [f"{path.name}/{name}" for name in _files(path)] if path.is_dir() else [path.name]
    return found
