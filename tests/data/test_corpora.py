import dataclasses
import gzip
import os

import pytest

from emnat_jax.config import DataConfig, ModesOptions
from emnat_jax.data.corpora import open_split
from emnat_jax.errors import UserError


def text_config(tmp_path, source: bytes | None, target: bytes | None, **changes) -> DataConfig:
    for name, data in (("a.de", source), ("a.en", target)):
        if data is not None:
            (tmp_path / name).write_bytes(data)
    paths = {
        f"{split}_{side}": name
        for split in ("train", "valid", "test")
        for side, name in (("source", "a.de"), ("target", "a.en"))
    }
    return DataConfig(**{"kind": "text", "root": str(tmp_path), **paths, **changes})


def pairs(config, split="train", **arguments):
    return [(p.line, p.source, p.target) for p in open_split(config, split, **arguments)]


def test_the_demo_runs_in_both_directions_and_twice():
    forward = open_split(DataConfig(), "valid")
    backward = DataConfig(source_language="en", target_language="de")
    first = list(forward)
    assert len(first) == 1_000
    assert list(forward) == first
    assert pairs(backward, "valid") == [(p.line, p.target, p.source) for p in first]
    assert len(pairs(DataConfig(train_rows=5))) == 5


def test_the_demo_refuses_other_languages():
    with pytest.raises(UserError, match="data.source_language=fr"):
        open_split(DataConfig(source_language="fr"), "train")


def test_lines_end_at_line_feeds_only(tmp_path):
    source = "\ufeffone\u2028still one\x0b\x85\r\ntwo \ufeff\r\r\nthree\t\x00".encode()
    got = pairs(text_config(tmp_path, source, b"1\n2\n3\n"))
    assert got == [(0, "one\u2028still one\x0b\x85", "1"), (1, "two \ufeff\r", "2"), (2, "three\t\x00", "3")]


def test_empty_lines_stay_and_gzip_is_known_by_its_content(tmp_path):
    config = text_config(tmp_path, gzip.compress(b"a\n\n b \n"), b"x\ny\n\n")
    assert pairs(config) == [(0, "a", "x"), (1, "", "y"), (2, " b ", "")]


@pytest.mark.parametrize("counts", [(3, 5), (5, 3), (0, 2), (2, 0)])
def test_unequal_line_counts_name_both_files_and_counts(tmp_path, counts):
    config = text_config(tmp_path, b"x\n" * counts[0], b"y\n" * counts[1])
    with pytest.raises(UserError, match=rf"a\.de has {counts[0]} lines and .*a\.en has {counts[1]};"):
        pairs(config)


def test_invalid_utf8_names_file_and_line(tmp_path):
    with pytest.raises(UserError, match=r"a\.en: line 3 is not UTF-8 \(byte 2 is 0xff\)"):
        pairs(text_config(tmp_path, b"a\nb\nc\n", b"a\nb\nc\xff\n"))


def test_cut_and_damaged_gzip_files_are_the_users_error(tmp_path):
    zipped = gzip.compress(b"some words\n" * 1000)
    wrong_sum = zipped[:-6] + bytes([zipped[-6] ^ 1]) + zipped[-5:]
    for data in (zipped[:-4], zipped[:-20], zipped[:15], wrong_sum):
        with pytest.raises(UserError, match=r"a\.de: the gzip file is cut off or damaged"):
            pairs(text_config(tmp_path, data, b"x\n" * 1000))


def test_empty_missing_unset_and_folder_name_what_to_mend(tmp_path, monkeypatch):
    monkeypatch.delenv("EMNAT_DATA", raising=False)
    with pytest.raises(UserError, match="are empty"):
        pairs(text_config(tmp_path, b"", b""))
    with pytest.raises(UserError, match=r"data\.train_source=no\.de: no such file \(tried .*no\.de\)\.$"):
        pairs(text_config(tmp_path, None, None, train_source="no.de"))
    with pytest.raises(UserError, match=r"no such file .* Set data\.root or .*EMNAT_DATA"):
        pairs(text_config(tmp_path, None, None, train_source="no.de", root=None))
    with pytest.raises(UserError, match=r"data\.valid_source is not set"):
        pairs(text_config(tmp_path, b"a\n", b"b\n", valid_source=None), "valid")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"data\.test_target=folder: .* is a folder"):
        pairs(text_config(tmp_path, b"a\n", b"b\n", test_target="folder"), "test")


def test_a_pipe_cannot_be_read_twice(tmp_path):
    os.mkfifo(tmp_path / "train.de")
    with pytest.raises(UserError, match="data.train_source=.*pipe or a device.*regular file"):
        open_split(DataConfig(kind="text", train_source=str(tmp_path / "train.de")), "train")


def test_a_file_without_line_ends_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("emnat_jax.data.text.MAX_LINE_BYTES", 100)
    with pytest.raises(UserError, match="line 1 is longer"):
        pairs(text_config(tmp_path, b"x" * 1000, b"y\n"))


def test_relative_paths_are_looked_up_in_root_then_here_then_emnat_data(tmp_path, monkeypatch):
    here, corpora, root = (tmp_path / name for name in ("here", "corpora", "root"))
    for folder, text in ((here / "set", "here"), (corpora / "set", "corpora"), (root / "set", "root")):
        folder.mkdir(parents=True)
        for name in ("a.de", "a.en"):
            (folder / name).write_text(text + "\n")
    config = DataConfig(kind="text", train_source="set/a.de", train_target="set/a.en")
    monkeypatch.chdir(here)
    monkeypatch.setenv("EMNAT_DATA", str(corpora))
    assert pairs(dataclasses.replace(config, root=str(root))) == [(0, "root", "root")]
    assert pairs(config) == [(0, "here", "here")]
    monkeypatch.chdir(tmp_path)
    assert pairs(config) == [(0, "corpora", "corpora")]
    monkeypatch.setenv("EMNAT_DATA", str(corpora / "set"))
    assert pairs(config) == [(0, "corpora", "corpora")]
    absolute = dataclasses.replace(config, train_source=str(here / "set/a.de"))
    assert pairs(absolute) == [(0, "here", "corpora")]


def test_generated_pairs_depend_on_the_seed(tmp_path):
    config = DataConfig(kind="modes", options=ModesOptions(train_rows=50, eval_rows=7))
    assert pairs(config, seed=1) == pairs(config, seed=1) != pairs(config, seed=2)
    assert len(pairs(config)) == 50 and len(pairs(config, "test")) == 7
