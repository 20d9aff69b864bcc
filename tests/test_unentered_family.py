"""Whole files that name a family which nobody has entered: not called damaged, nothing is to be deleted."""

import pytest

from emnat_jax.artifacts.manifest import Manifest, write_manifest
from emnat_jax.config import FAMILIES, VocabConfig
from emnat_jax.config.convert import to_dict
from emnat_jax.data.vocab_training import train_vocabulary
from emnat_jax.errors import UserError
from emnat_jax.export.folder import EXPORTED, open_export
from emnat_jax.training.manifest import load_model_manifest
from tests import tiny

OF_EXPORT = {"format": "onnx", "buckets": [4], "precisions": ["int8"], "precision": "int8", "parity": {}}
OPTIONS = {"model": {"step": 1, "valid_loss": None}, EXPORTED: OF_EXPORT}


@pytest.mark.parametrize("kind", OPTIONS)
def test_what_is_missing_is_named(tmp_path, kind, monkeypatch):
    vocabulary = train_vocabulary(["a b c"] * 20, VocabConfig(size=60, model="word"))
    vocabulary.save(tmp_path / "vocab")
    monkeypatch.setitem(FAMILIES, "mine", FAMILIES["vanilla"])
    options = OPTIONS[kind] | {"model": to_dict(tiny.model("mine"))}
    made_of = {"vocabulary": vocabulary.fingerprint}
    write_manifest(tmp_path, Manifest(kind, "0" * 64, 1, 1, {}, [], made_of, options, seed=1))

    def opened() -> str:
        if kind == EXPORTED:
            return open_export(tmp_path).about.model.family
        return load_model_manifest(tmp_path, vocabulary.fingerprint)[1].family

    assert opened() == "mine"
    monkeypatch.delitem(FAMILIES, "mine")
    missing = "MANIFEST.json: model.family='mine': choose one of .*enter it first"
    with pytest.raises(UserError, match=missing) as raised:
        opened()
    assert "damaged" not in str(raised.value) and "delete" not in str(raised.value)
