"""Token ids of text and back: a SentencePiece model and its fingerprint."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from etils import epath

import emnat_jax
from emnat_jax.artifacts import paths
from emnat_jax.artifacts.atomic import atomic_file, read_file, require_store, write_text
from emnat_jax.artifacts.sealed import CHECKSUM, seal, unseal
from emnat_jax.errors import UserError
from emnat_jax.tokens import BOS, EOS, PAD, UNK

# C0 and C1. One of them in a line would end or break the line of an output file.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")

# SentencePiece writes a space as ▁ (U+2581), so that a ▁ of the text itself would come back as a space. It is
# written as a code point that Unicode keeps out of texts; should that occur, another stands before it.
_SPACE_MARK, _STAND_IN, _ESCAPE = "\u2581", "\ufdd0", "\ufdd1"
_TO_ESCAPE = re.compile(f"[{_SPACE_MARK}{_STAND_IN}{_ESCAPE}]")
_ESCAPED = re.compile(f"{_ESCAPE}(.?)|{_STAND_IN}", re.DOTALL)
_PROBE = "\ufb01\u00bd\uff21e\u0301"  # every form of Unicode normalisation changes one of these

MEND = "run `emnat prepare`, which makes it of the workdir's corpus"
_SCHEMA_VERSION = 2
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
            raise UserError("this is not a SentencePiece model; name the file that training made.") from error
        self.model = model
        self.size: int = self._processor.vocab_size()
        self.fingerprint: str = hashlib.sha256(model).hexdigest()[:16]
        _check_special_ids(self._processor)

    @property
    def rewrites(self) -> bool:
        """Whether text is normalised before it is cut, so that "ﬁ" comes back as "fi"; ours is not."""
        return _PROBE not in self._processor.normalize(_PROBE)

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """i32 pieces of every text, without EOS. Control characters count as spaces.

        Spaces at the ends are left out, and several in a row are one; all else comes back from `decode`,
        unless it is UNK, or the vocabulary `rewrites`.
        """
        return [np.array(ids, np.int32) for ids in self._processor.encode(list(map(as_segmented, texts)))]

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
        text = _ESCAPED.sub(lambda found: found[1] or _unescaped(found[0]), self._processor.decode(pieces))
        return CONTROL.sub(" ", text)

    def spelled(self) -> tuple[np.ndarray, np.ndarray]:
        """(bool[size], bool[size]): the pieces that stand for unknown text, and those for single bytes."""
        ids = range(self.size)
        is_unknown, is_byte = (
            np.array([test(index) for index in ids], bool)
            for test in (self._processor.is_unknown, self._processor.is_byte)
        )
        return is_unknown, is_byte

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
        write_text(directory / _MANIFEST_NAME, json.dumps(seal(manifest), indent=2, sort_keys=True) + "\n")


def as_segmented(text: str) -> str:
    """The text as SentencePiece gets it: control characters as spaces, ▁ as a character of its own."""
    text = CONTROL.sub(" ", text)
    if _TO_ESCAPE.search(text) is None:
        return text
    return _TO_ESCAPE.sub(lambda c: _STAND_IN if c[0] == _SPACE_MARK else _ESCAPE + c[0], text)


def _unescaped(mark: str) -> str:
    return _SPACE_MARK if mark == _STAND_IN else ""  # an escape that escapes nothing


def load_vocabulary(directory: epath.PathLike) -> Vocabulary:
    """The vocabulary saved in `directory`.

    Raises UserError where there is none, or where the model is not the one the manifest names.
    """
    directory = epath.Path(directory)
    manifest = _read_manifest(directory)
    if manifest is None:
        raise UserError(f"{directory}: no finished vocabulary here; {MEND}.")
    try:
        model = read_file(directory / _MODEL_NAME)
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


def open_vocabulary(path: epath.PathLike) -> Vocabulary:
    """The vocabulary of a SentencePiece model file, of a workdir, or of the folder of a vocabulary.

    UserError, naming the path, where there is none, or one that this package cannot use.
    """
    require_store(path)
    path = epath.Path(path).expanduser()
    for folder in (path, path / paths.VOCABULARY):
        if (folder / _MANIFEST_NAME).exists() and (folder / _MODEL_NAME).exists():
            return load_vocabulary(folder)
        path = folder / _MODEL_NAME if (folder / _MODEL_NAME).exists() else path
    if path.is_dir() or not path.exists():
        found = "a folder without a vocabulary" if path.is_dir() else "no such file"
        raise UserError(f"{path}: {found}; name a SentencePiece model, a workdir, or its folder vocab.")
    try:
        return Vocabulary(read_file(path))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error


def vocabulary_in(directory: epath.PathLike) -> str | None:
    """Fingerprint of the model that lies in a folder, finished or not.

    None for an empty folder, "" where there are other things alone.
    """
    directory = epath.Path(directory)
    if (directory / _MODEL_NAME).exists():
        return hashlib.sha256(read_file(directory / _MODEL_NAME)).hexdigest()[:16]
    found = [path.name for path in directory.iterdir()] if directory.exists() else []
    return "" if any(name != _MANIFEST_NAME and not name.startswith(".") for name in found) else None


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
        manifest = json.loads(read_file(path))
        version = manifest["schema_version"]
        known = version <= _SCHEMA_VERSION
        if known and (version > 1 or CHECKSUM in manifest):  # there was no checksum before
            manifest = unseal(manifest)
        manifest["fingerprint"], manifest["made_from"]
    except (ValueError, KeyError, TypeError, RecursionError, OSError) as error:
        raise UserError(f"{path} is damaged; restore it, or delete it: then {MEND}.") from error
    if not known:
        raise UserError(f"{path} was written by a newer emnat_jax; update the package.")
    return manifest


def _check_special_ids(processor: Any) -> None:
    found = (processor.pad_id(), processor.eos_id(), processor.unk_id(), processor.bos_id())
    if found != (PAD, EOS, UNK, BOS):
        raise UserError(
            f"a vocabulary with pad, eos, unk, bos = {found}, and here they are {(PAD, EOS, UNK, BOS)}; "
            f"train it with spm_train --pad_id={PAD} --eos_id={EOS} --unk_id={UNK} --bos_id={BOS}, or let "
            "one be made."
        )
