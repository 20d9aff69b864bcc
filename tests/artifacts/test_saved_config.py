"""config.json lost or damaged: one line, and what it advises works."""

import dataclasses
import json

import pytest

from emnat_jax.artifacts.journal import write_journal
from emnat_jax.artifacts.saved_config import (
    EVENT,
    as_saved,
    copy_of,
    note_config,
    read_config,
    require_found,
    write_config,
)
from emnat_jax.artifacts.sealed import digest
from emnat_jax.config import FAMILIES, Config, ModelConfig
from emnat_jax.errors import UserError
from tests.em.runs import small_config

DAMAGED = {
    "empty": b"",
    "cut off": b'{"seed": 1,',
    "a list": b"[1, 2]",
    "null": b"null",
    "a number": b"5",
    "not UTF-8": b'{"seed": "\xff"}',
    "too deep": b"[" * 100_000,
    "a group that is a number": b'{"em": 5}',
    "a number that is text": b'{"em": {"rounds": "x"}}',
    "a number that is a flag": b'{"seed": true}',
    "a number that is none": b'{"teacher": {"dropout": NaN}}',
    "a name that is a list": b'{"student": {"family": ["vanilla"]}}',
    "a name that is an object": b'{"data": {"kind": {}}}',
    "options that are a number": b'{"student": {"family": "vanilla", "vanilla": 3}}',
    "a list of lists": b'{"data": {"buckets": [[1]]}}',
    "an option of tomorrow": b'{"em": {"tomorrow": 1}}',
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_read_from_the_journal_once_it_is_deleted(tmp_path, text):
    config, path = small_config(), tmp_path / "config.json"
    path.write_bytes(text)
    with pytest.raises(UserError, match="damaged .*restore it, or use a new workdir") as raised:
        read_config(tmp_path)
    assert str(raised.value).startswith(str(path)) and len(str(raised.value).splitlines()) == 1
    note_config(tmp_path, config, [])
    with pytest.raises(UserError, match="damaged .*delete it: journal.jsonl holds the same"):
        read_config(tmp_path)
    path.unlink()
    assert read_config(tmp_path) == config


def test_the_last_configuration_of_the_journal_counts_and_is_there_once(tmp_path):
    assert read_config(tmp_path) is None and copy_of(tmp_path) is None
    for config, changed in ((Config(), []), (small_config(), ["seed"]), (small_config(), [])):
        note_config(tmp_path, config, changed)
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(b'[1]\n"text"\n{"event": "configuration"}\n{"event": "configuration", "con')
    assert len((tmp_path / "journal.jsonl").read_bytes().splitlines()) == 2 + 4
    assert read_config(tmp_path) == small_config()
    write_config(tmp_path, Config())
    assert read_config(tmp_path) == Config()  # the file goes before its copy


@pytest.mark.parametrize(("old", "new"), [(b'"seed": 2', b'"seed": 3'), (b'"seed": 2', b'"seed"; 2')])
def test_an_older_copy_does_not_take_the_place_of_a_damaged_one(tmp_path, old, new):
    note_config(tmp_path, Config(seed=1), [])
    note_config(tmp_path, Config(seed=2), ["seed"])
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(old, new))
    assert read_config(tmp_path) is None
    note_config(tmp_path, Config(seed=2), [])  # as a run does that has its config.json
    assert read_config(tmp_path) == Config(seed=2)


@pytest.mark.parametrize("place", ["config.json", "journal.jsonl"])
def test_a_whole_file_with_a_family_from_outside_is_not_damaged(tmp_path, place, monkeypatch):
    """Nothing is to be deleted: what is missing is the line of the table."""
    monkeypatch.setitem(FAMILIES, "mine", FAMILIES["vanilla"])
    config = dataclasses.replace(Config(), student=ModelConfig(family="mine", encoder_layers=3))
    write_config(tmp_path, config)
    note_config(tmp_path, config, [])
    if place != "config.json":
        (tmp_path / "config.json").unlink()
    assert read_config(tmp_path) == config
    monkeypatch.delitem(FAMILIES, "mine")
    with pytest.raises(
        UserError, match="student.family='mine': choose one of ar, .*enter it first"
    ) as raised:
        read_config(tmp_path)
    assert str(raised.value).startswith(f"{tmp_path / place}: ") and "delete" not in str(raised.value)


@pytest.mark.parametrize("place", ["config.json", "journal.jsonl"])
def test_a_workdir_from_before_an_option_goes_on_as_it_began(tmp_path, place):
    values = as_saved(small_config())
    assert values["em"].pop("later_optimizer") == "continued"
    if place == "config.json":
        (tmp_path / place).write_text(json.dumps(values))
    else:
        write_journal(tmp_path, event=EVENT, changed=[], config=values, sha256=digest(values))
    assert read_config(tmp_path) == small_config(later_optimizer="new")


@pytest.mark.parametrize("made", ["vocab", "rounds/0"])
def test_nothing_takes_the_place_of_a_configuration_that_is_lost(tmp_path, made):
    require_found(tmp_path, None)  # nothing was made here
    (tmp_path / made).mkdir(parents=True)
    with pytest.raises(UserError, match="config.json is lost.*restore one of them"):
        require_found(tmp_path, None)


def test_what_is_written_is_the_whole_configuration(tmp_path):
    write_config(tmp_path, small_config())
    assert set(json.loads((tmp_path / "config.json").read_text())) >= {"data", "vocab", "em", "seed"}
