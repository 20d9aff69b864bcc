"""What a kill leaves of a set: a shard is used again only if it is whole and of this set."""

import json

import numpy as np
import pytest
from etils import epath

from emnat_jax.artifacts.record_index import index_path
from emnat_jax.artifacts.records import read_shard, shard_name, write_shard
from emnat_jax.artifacts.shards import UnfinishedSet, delete_shards, forget_plan, keep_shards_of
from emnat_jax.errors import UserError
from tests.data.rows import random_rows

PLAN = {"options": {"num_candidates": 2}, "fingerprints": {"model": "m"}, "seed": 1}
NAMES = [shard_name(index, 3) for index in range(3)]
ROWS = random_rows(6)


@pytest.fixture
def unfinished(tmp_path) -> UnfinishedSet:
    made = keep_shards_of(tmp_path / "set", PLAN)
    for index, name in enumerate(NAMES):
        made.write(name, ROWS[2 * index : 2 * index + 2])
    return made


def test_whole_shards_are_described_as_they_were_written(unfinished):
    again = keep_shards_of(unfinished.directory, PLAN)
    assert [(shard["first"], shard["last"], shard["rows"]) for shard in map(again.made, NAMES)] == [
        (0, 1, 2),
        (2, 3, 2),
        (4, 5, 2),
    ]
    assert [row.row for row in again.read_or_make(NAMES[1], pytest.fail)] == [2, 3]
    assert again.made("part-00007-of-00009.tfrecord") is None


def damages() -> dict:
    def cut_between_records(path: epath.Path) -> None:
        first, _ = read_shard(path)
        write_shard(path.with_name("other"), [first])
        path.write_bytes(path.with_name("other").read_bytes())

    def of_another_set(path: epath.Path) -> None:
        """A neighbour's shard with its note, as a careless copy leaves them."""
        other = keep_shards_of(path.parent.parent / "other", PLAN | {"seed": 2})
        other.write(path.name, random_rows(2, first=2, seed=5))
        for file in other.directory.glob("part-*"):
            (path.parent / file.name).write_bytes(file.read_bytes())

    def other_rows_in_the_note(path: epath.Path) -> None:
        note = json.loads(path.with_suffix(".json").read_text())
        note["shard"]["rows"] = 3
        path.with_suffix(".json").write_text(json.dumps(note))

    def next_shard(path: epath.Path) -> None:
        for suffix in (".tfrecord", ".json"):
            path.with_suffix(suffix).write_bytes((path.parent / NAMES[2]).with_suffix(suffix).read_bytes())

    return {
        "empty": lambda path: path.write_bytes(b""),
        "cut between records": cut_between_records,
        "a byte flipped": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"),
        "of another set": of_another_set,
        "the next one": next_shard,
        "lost": lambda path: path.unlink(),
        "without a note": lambda path: path.with_suffix(".json").unlink(),
        "an empty note": lambda path: path.with_suffix(".json").write_text(""),
        "a note that is no object": lambda path: path.with_suffix(".json").write_text("[]"),
        "other rows in the note": other_rows_in_the_note,
    }


@pytest.mark.parametrize("damage", damages())
def test_a_shard_that_is_not_as_it_was_written_is_made_again(unfinished, damage):
    damages()[damage](unfinished.directory / NAMES[1])
    again = keep_shards_of(unfinished.directory, PLAN)
    assert again.made(NAMES[1]) is None and again.made(NAMES[0]) is not None
    with pytest.raises(UserError, match=r"part-00001-of-00003.tfrecord was changed.*run the command again"):
        again.describe(NAMES[1])
    rows = again.read_or_make(NAMES[1], lambda: ROWS[2:4])
    np.testing.assert_equal([row.row for row in rows], [2, 3])
    assert again.describe(NAMES[1])["rows"] == 2


def test_files_of_others_stay(unfinished):
    """As another program names its parts, in a folder that a command was given by mistake."""
    names = ["part-00000", "part-00000-of-00003.txt", "part-00001.gz", "part-1.json", "index-1.html"]
    for name in names:
        (unfinished.directory / name).write_text("x")
    keep_shards_of(unfinished.directory, PLAN | {"seed": 2})
    forget_plan(unfinished.directory)
    assert sorted(path.name for path in unfinished.directory.iterdir()) == sorted(names)


def test_another_plan_leaves_nothing(unfinished):
    other = keep_shards_of(unfinished.directory, PLAN | {"seed": 2})
    assert [path.name for path in other.directory.iterdir()] == ["PLAN.json"]
    assert all(other.made(name) is None for name in NAMES)


def test_notes_go_with_the_plan_and_with_the_shards(unfinished):
    forget_plan(unfinished.directory)
    indexes = [index_path(unfinished.directory / name).name for name in NAMES]
    assert sorted(path.name for path in unfinished.directory.iterdir()) == indexes + NAMES
    delete_shards(unfinished.directory)
    assert not list(unfinished.directory.iterdir())


def test_a_kill_between_a_shard_and_its_note_leaves_no_old_note(unfinished, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("emnat_jax.artifacts.shards.write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        unfinished.write(NAMES[0], ROWS[:1])
    assert unfinished.made(NAMES[0]) is None
