import sys

import pytest

from emnat_jax.artifacts.example_message import example_class
from emnat_jax.artifacts.records import _masked_crc
from emnat_jax.config import DataConfig
from emnat_jax.data.corpora import open_split
from emnat_jax.errors import UserError

tfds = pytest.importorskip("tensorflow_datasets")

TEXTS = {
    "train": [("Hallo Welt", "hello world"), ("über\u2028all", "every\u2028where"), ("", "empty")],
    "validation": [("eins", "one")],
    "test": [("zwei 😀", "two 😀")],
}


class TinyPairs(tfds.core.GeneratorBasedBuilder):
    """A translation set of five pairs."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        languages = tfds.features.Translation(languages=("de", "en"))
        return tfds.core.DatasetInfo(builder=self, features=languages)

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in TEXTS}

    def _generate_examples(self, split):
        for key, (de, en) in enumerate(TEXTS[split]):
            yield key, {"de": de, "en": en}


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> DataConfig:
    folder = tmp_path_factory.mktemp("tfds")
    TinyPairs(data_dir=folder, file_format="array_record").download_and_prepare()
    return DataConfig(kind="tfds", tfds="tiny_pairs", tfds_dir=str(folder))


@pytest.mark.parametrize("split, name", [("train", "train"), ("valid", "validation"), ("test", "test")])
def test_every_split_is_read_whole_and_in_the_same_order_twice(config, split, name, monkeypatch):
    monkeypatch.setattr("emnat_jax.data.tfds._BLOCK_ROWS", 2)
    corpus = open_split(config, split)
    first = list(corpus)
    assert sorted((p.source, p.target) for p in first) == sorted(TEXTS[name])
    assert [p.line for p in first] == list(range(len(first)))
    assert list(corpus) == first


def test_languages_give_the_direction_and_tensorflow_is_not_needed(config):
    config = DataConfig(
        kind="tfds", tfds=config.tfds, tfds_dir=config.tfds_dir, source_language="en", target_language="de"
    )
    assert [(p.source, p.target) for p in open_split(config, "valid")] == [("one", "eins")]
    assert "tensorflow" not in sys.modules


def tfrecord_of(de: str, en: str) -> bytes:
    """One pair as TensorFlow writes it."""
    example = example_class()()
    example.features.feature.add(key="de").value.bytes_list.value.append(de.encode())
    example.features.feature.add(key="en").value.bytes_list.value.append(en.encode())
    payload = example.SerializeToString()
    parts = (len(payload).to_bytes(8, "little"), payload)
    return b"".join(part + _masked_crc(part).to_bytes(4, "little") for part in parts)


def test_a_copy_in_the_tfrecord_format_is_read_as_well(tmp_path):
    builder = TinyPairs(data_dir=tmp_path, file_format="array_record")
    builder.download_and_prepare()
    folder = tmp_path / "tiny_pairs" / "1.0.0"
    for split, texts in TEXTS.items():  # what TensorFlow would have written in place of array records
        (folder / f"tiny_pairs-{split}.array_record-00000-of-00001").unlink()
        with (folder / f"tiny_pairs-{split}.tfrecord-00000-of-00001").open("wb") as file:
            file.writelines(tfrecord_of(de, en) for de, en in texts)
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord").replace("ARRAY_RECORD", "tfrecord"))
    config = DataConfig(kind="tfds", tfds="tiny_pairs", tfds_dir=str(tmp_path))
    assert [(p.source, p.target) for p in open_split(config, "train")] == TEXTS["train"]


def test_what_is_missing_is_named(config, tmp_path, monkeypatch):
    def error(**changes) -> str:
        values = dict(kind="tfds", tfds=config.tfds, tfds_dir=config.tfds_dir) | changes
        with pytest.raises(UserError) as raised:
            open_split(DataConfig(**values), "train")
        return str(raised.value)

    assert "data.tfds is not set" in error(tfds=None)
    assert "data.tfds=nosuch_set" in error(tfds="nosuch_set")
    assert "data.source_language=fr" in error(source_language="fr") and "de, en" in error(
        source_language="fr"
    )
    unprepared = error(tfds="wmt14_translate/de-en", tfds_dir=str(tmp_path))
    assert "is not prepared" in unprepared and "download_and_prepare()" in unprepared
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    assert "pip install tensorflow-datasets" in error()
