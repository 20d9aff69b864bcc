"""What a preparation says of lines that are not used, or not as they are."""

import dataclasses

import pytest

from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.config import VocabConfig
from emnat_jax.data import record_sets
from emnat_jax.data.prepare import prepare
from emnat_jax.data.vocab import load_vocabulary
from tests.data.test_prepare import NASTY, Killed, plain_corpus, silent, write_corpus


def test_what_is_left_out_is_said_once_with_count_share_lines_and_remedy(tmp_path):
    log: list[str] = []
    train = [*NASTY, *[("", "x")] * 9]
    config = write_corpus(tmp_path / "corpus", train, test=NASTY)
    prepare(config, tmp_path / "work", log.append)
    said = [line for line in log if "left out" in line or "changed for" in line]
    left_out, changed = "lines ({}) are left out", "lines ({}) are changed for the model"
    remedies = {
        "empty_line": "give each side text, or take the line out",
        "control_character": "put spaces in place of the characters",
        "over_long": "longer than the last of data.buckets; give a wider one, in a new workdir",
    }
    assert said == [
        f"prepare: {split}: {count} of {lines} {what.format(share)} ({reason}; lines {which}): "
        f"{remedies[reason]}"
        for split, count, lines, what, share, reason, which in (
            ("train", 11, 20, left_out, "55.00%", "empty_line", "2, 3, 12, 13, 14, ..."),
            ("train", 2, 20, left_out, "10.00%", "control_character", "5, 6"),
            ("train", 2, 20, left_out, "10.00%", "over_long", "8, 9"),
            ("test", 2, 11, changed, "18.18%", "control_character", "5, 6"),
            ("test", 2, 11, changed, "18.18%", "over_long", "8, 9"),
        )
    ]
    data = dataclasses.replace(config.data, buckets=(16, 400))  # the remedy
    wider = prepare(dataclasses.replace(config, data=data), tmp_path / "new", silent)
    assert wider["train"]["dropped"]["over_long"] == wider["test"]["altered"]["over_long"] == 0


def test_a_resumed_run_names_the_same_lines(tmp_path, monkeypatch):
    config, whole, rest = write_corpus(tmp_path / "corpus"), [], []
    prepare(config, tmp_path / "whole", whole.append)
    real = record_sets.finish_dataset
    monkeypatch.setattr(record_sets, "finish_dataset", lambda *a, **k: (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        prepare(config, tmp_path / "work", silent)
    monkeypatch.setattr(record_sets, "finish_dataset", real)
    prepare(config, tmp_path / "work", rest.append)
    assert rest == whole


def test_a_clean_text_needs_no_remark(tmp_path):
    log: list[str] = []
    config = plain_corpus(tmp_path / "corpus")
    prepare(dataclasses.replace(config, vocab=VocabConfig(size=300)), tmp_path / "work", log.append)
    assert all(line.startswith("prepare: ") and len(line.split()) <= 5 for line in log)


def test_the_first_lines_of_a_text_are_counted_with_all_that_there_are(tmp_path):
    log: list[str] = []
    config = plain_corpus(tmp_path / "corpus")
    data = dataclasses.replace(config.data, train_rows=5)
    summary = prepare(dataclasses.replace(config, data=data), tmp_path / "work", log.append)
    assert "prepare: train has 5 of 20 lines (data.train_rows)" in log
    assert (summary["train"]["rows_in"], summary["train"]["lines_there"]) == (5, 20)


def test_lines_with_spaces_that_a_vocabulary_does_not_keep_are_counted(tmp_path):
    train = [(" a", "b"), ("a", "b "), ("a  b", "c"), ("a\tb", "c"), ("a\u3000 b\u00a0", "c"), ("a b", "c d")]
    summary = prepare(write_corpus(tmp_path / "corpus", train), tmp_path / "work", silent)
    assert summary["train"]["respaced"] == 4
    vocabulary = load_vocabulary(tmp_path / "work/vocab")
    rows = read_dataset(tmp_path / "work/data/train")
    kept = [
        vocabulary.decode(r.source) == r.source_text and vocabulary.decode(r.targets[0]) == r.target_text
        for r in rows
    ]
    assert kept == [False] * 4 + [True] * 2
