"""Token ids of text and back: a SentencePiece model and its fingerprint."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from etils import epath

import emnat_jax
from emnat_jax.artifacts.atomic import atomic_file, write_text
from emnat_jax.errors import UserError
from emnat_jax.types import BOS, EOS, PAD, UNK

# C0 and C1. One of them in a line would end or break the line of an output file.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")

MEND = "run `emnat prepare`, which makes it of the workdir's corpus"
_SCHEMA_VERSION = 1
_MODEL_NAME = "model"
_MANIFEST_NAME = "MANIFEST.json"


class Vocabulary:
    """A trained segmentation of text into pieces; never changes after it was made.

    size: pieces, specials included. fingerprint: 16 hex digits, equal where the models are.
    Raises UserError for bytes that are no SentencePiece model or have other special ids than types.py.
    """

    def __init__(self, model: bytes):
        import sentencepiece

        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise UserError("this is not a SentencePiece model; prepare the vocabulary again.") from error
        self.model = model
        self.size: int = self._processor.vocab_size()
        self.fingerprint: str = hashlib.sha256(model).hexdigest()[:16]
        _check_special_ids(self._processor)

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """i32 pieces of every text, without EOS. Control characters count as spaces."""
        clean = [CONTROL.sub(" ", text) for text in texts]
        return [np.array(ids, np.int32) for ids in self._processor.encode(clean)]

    def decode(self, ids: Iterable[int | np.integer]) -> str:
        """One line of text: ids up to the first EOS, PAD and BOS left out.

        UNK, and an id past the vocabulary, prints as SentencePiece's " ⁇ "; a control character, which
        a model can spell in bytes, as a space.
        """
        pieces = []
        for token in map(int, ids):
            if token == EOS:
                break
            if token not in (PAD, BOS):
                pieces.append(token if 0 <= token < self.size else UNK)
        return CONTROL.sub(" ", self._processor.decode(pieces))

    def pieces(self) -> list[str]:
        """How each id is written, specials in angle brackets, a space as ▁."""
        return [self._processor.id_to_piece(index) for index in range(self.size)]

    def save(self, directory: epath.PathLike, made_from: dict | None = None) -> None:
        """Writes the folder that `load_vocabulary` reads; the manifest last.

        made_from: plain values that tell whether the vocabulary is still the one that is wanted.
        """
        directory = epath.Path(directory)
        with atomic_file(directory / _MODEL_NAME) as file:
            file.write(self.model)
        manifest = {
            "schema_version": _SCHEMA_VERSION,
            "kind": "vocabulary",
            "fingerprint": self.fingerprint,
            "size": self.size,
            "made_from": made_from or {},
            "package_version": emnat_jax.__version__,
        }
        write_text(directory / _MANIFEST_NAME, json.dumps(manifest, indent=2, sort_keys=True) + "\n")


def load_vocabulary(directory: epath.PathLike) -> Vocabulary:
    """The vocabulary saved in `directory`.

    Raises UserError where there is none, or where the model is not the one the manifest names.
    """
    directory = epath.Path(directory)
    manifest = _read_manifest(directory)
    if manifest is None:
        raise UserError(f"{directory}: no finished vocabulary here; {MEND}.")
    try:
        model = (directory / _MODEL_NAME).read_bytes()
    except OSError as error:
        raise UserError(f"{directory / _MODEL_NAME}: cannot be read ({error.strerror}); {MEND}.") from error
    fingerprint = hashlib.sha256(model).hexdigest()[:16]
    if fingerprint != manifest["fingerprint"]:
        raise UserError(
            f"{directory / _MODEL_NAME} has fingerprint {fingerprint}, its manifest "
            f"{manifest['fingerprint']}: the file was changed or damaged; restore it, or delete it: then "
            f"{MEND}."
        )
    return Vocabulary(model)


def vocabulary_made_from(directory: epath.PathLike) -> dict | None:
    """What `save` was told the vocabulary was made from; None where none is whole."""
    manifest = _read_manifest(epath.Path(directory))
    is_whole = manifest is not None and (epath.Path(directory) / _MODEL_NAME).exists()
    return manifest["made_from"] if manifest is not None and is_whole else None


def _read_manifest(directory: epath.Path) -> dict | None:
    path = directory / _MANIFEST_NAME
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_bytes())
        known = manifest["schema_version"] <= _SCHEMA_VERSION
        manifest["fingerprint"], manifest["made_from"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged; restore it, or delete it: then {MEND}.") from error
    if not known:
        raise UserError(f"{path} was written by a newer emnat_jax; update the package.")
    return manifest


def _check_special_ids(processor: Any) -> None:
    found = (processor.pad_id(), processor.eos_id(), processor.unk_id(), processor.bos_id())
    if found != (PAD, EOS, UNK, BOS):
        raise UserError(
            f"vocabulary with pad, eos, unk, bos = {found}; train it with ids {(PAD, EOS, UNK, BOS)}."
        )
