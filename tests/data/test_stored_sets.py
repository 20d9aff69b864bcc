"""Finished sets before and while they are read from: shards verified, indexes made where they lack."""

import importlib.util

import numpy as np
import pytest

from emnat_jax.artifacts.manifest import load_manifest
from emnat_jax.artifacts.records import shard_name
from emnat_jax.data.examples import Learned, open_examples
from emnat_jax.data.stored_sets import verify_sets
from emnat_jax.errors import UserError
from emnat_jax.runtime.processes import Processes
from tests.data.rows import random_rows, stored
from tests.object_store import object_store

ROWS = random_rows(150)


@pytest.mark.parametrize("damage", ["cut off", "flipped", "another shard", "lost"])
def test_a_shard_that_is_not_the_manifests_is_refused(tmp_path, damage):
    one = stored(tmp_path / "set", ROWS)
    shard = tmp_path / "set" / shard_name(1, 3)
    data = bytearray(shard.read_bytes())
    if damage == "cut off":
        shard.write_bytes(data[:-5])
    elif damage == "flipped":
        data[40] ^= 1
        shard.write_bytes(data)
    elif damage == "lost":
        shard.unlink()
    else:
        shard.write_bytes((tmp_path / "set" / shard_name(0, 3)).read_bytes())
    with pytest.raises(UserError, match=r"part-00001.*(was changed or damaged|is missing)"):
        verify_sets([one], Processes())


def test_a_shard_that_is_changed_after_it_was_verified_is_refused(tmp_path):
    (one,) = verify_sets([stored(tmp_path / "set", ROWS)], Processes())
    shards = [tmp_path / "set" / shard_name(index, 3) for index in range(3)]
    shards[1].write_bytes(shards[0].read_bytes())
    with open_examples(Learned([one])) as examples:
        with pytest.raises(UserError, match="part-00001.*was changed while it was in use"):
            examples.read(np.array([75]))
        assert examples.read(np.array([149]))[0][0].row == 149


def test_a_shard_that_is_changed_while_it_is_in_use_is_refused(tmp_path):
    one = stored(tmp_path / "set", ROWS)
    shards = [tmp_path / "set" / shard_name(index, 3) for index in range(3)]
    with open_examples(Learned([one])) as examples:
        assert examples.read(np.array([0]))[0][0].row == 0
        shards[2].write_bytes(shards[1].read_bytes())
        with pytest.raises(UserError, match="part-00002.*was changed while it was in use"):
            examples.read(np.array([149]))
        shards[1].unlink()
        with pytest.raises(UserError, match="part-00001.*cannot be read"):
            examples.read(np.array([75]))


def test_a_record_that_is_damaged_while_its_file_is_open_is_refused(tmp_path):
    one = stored(tmp_path / "set", ROWS, shards=1)
    path = tmp_path / "set" / shard_name(0, 1)
    with open_examples(Learned([one])) as examples:
        examples.read(np.array([0]))
        with path.open("r+b") as file:
            file.seek(path.stat().st_size - 10)
            file.write(b"\0\1\2")
        with pytest.raises(UserError, match="the record at byte .* is damaged"):
            examples.read(np.array([149]))


def test_indexes_that_lack_are_made_and_kept(tmp_path):
    one = stored(tmp_path / "set", ROWS, shards=4)
    indexes = sorted((tmp_path / "set").glob("index-*"))
    before = [path.read_bytes() for path in indexes]
    indexes[0].unlink()
    indexes[1].write_bytes(before[0])  # of another shard
    indexes[2].write_bytes(before[2][:-3])
    indexes[3].write_bytes(before[3][: 16 + int.from_bytes(before[3][:8], "little")])  # one whole record
    said = []
    with open_examples(Learned([one]), log=said.append) as examples:
        assert examples.count == 150
    assert sorted(said) == [
        f"{one.directory / shard['name']} has no index; makes it" for shard in one.manifest.shards
    ]
    assert [path.read_bytes() for path in indexes] == before
    with open_examples(Learned([one]), log=said.append):
        assert len(said) == 4


def test_a_set_whose_folder_cannot_be_written_gets_its_indexes_elsewhere(tmp_path, monkeypatch):
    one = stored(tmp_path / "set", ROWS)
    for path in (tmp_path / "set").glob("index-*"):
        path.unlink()
        path.mkdir()  # nothing can be written in its place
    with open_examples(Learned([one]), log=lambda text: None) as examples:
        assert [pairs[0].row for pairs in examples.read(np.arange(150))] == list(range(150))


def test_processes_share_the_verification_and_all_are_told(tmp_path):
    one = stored(tmp_path / "set", ROWS)
    shard = tmp_path / "set" / shard_name(1, 3)
    shard.write_bytes(shard.read_bytes()[:-1])

    class Two(Processes):
        """The second process says nothing of the shards of the first."""

        def gather(self, name, value):
            return [value, [[1, "from the other"]]]

    with pytest.raises(UserError, match="from the other"):
        verify_sets([one], Two(0, 2))  # has the shards 0 and 2, which are whole
    assert load_manifest(tmp_path / "set", verify_shards=False) == one.manifest


@pytest.mark.skipif(importlib.util.find_spec("gcsfs") is None, reason="the extra `gcs` is not installed")
def test_a_set_in_an_object_store_is_copied_and_read(tmp_path, monkeypatch):
    disk = stored(tmp_path / "set", ROWS)
    with object_store() as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        one = stored("gs://bucket/set", ROWS)
        assert one.manifest.content_hash == disk.manifest.content_hash
        name = "set/index-00001-of-00003"
        index = store.objects.pop(name)[1]
        verify_sets([one], Processes())
        with open_examples(Learned([one]), log=lambda text: None) as examples:
            assert [pairs[0].row for pairs in examples.read(np.arange(150)[::-1])] == list(range(150))[::-1]
        assert store.objects[name][1] == index
        shard = f"set/{shard_name(1, 3)}"
        store.objects[shard] = (99, store.objects[f"set/{shard_name(0, 3)}"][1])
        with pytest.raises(UserError, match="part-00001.*was changed or damaged"):
            verify_sets([one], Processes())
