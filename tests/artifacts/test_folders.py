"""Folders of any name, files of any owner, links."""

import os
import pwd

import pytest
from etils import epath

from emnat_jax.artifacts.folders import (
    entries,
    file_size,
    found_at,
    numbered,
    remove_folder,
    remove_left,
    require_files,
    require_plain_name,
)
from emnat_jax.artifacts.records import read_shard, shard_name, write_shard
from emnat_jax.artifacts.shards import delete_shards
from emnat_jax.errors import UserError
from emnat_jax.training.checkpoint import Checkpoints
from emnat_jax.training.restore import read_metadata
from tests.data.rows import random_rows

NAMES = ["run", "run[1]", "run*", "r?n"]


@pytest.mark.parametrize("name", NAMES)
def test_the_path_of_a_folder_is_no_pattern(tmp_path, name):
    for folder in NAMES:
        for place in ("2", "10", "x", "²", "٣", "02", "part-0"):
            (tmp_path / folder / place).mkdir(parents=True)
    here = tmp_path / name
    assert [path.name for path in entries(here, "part-*")] == ["part-0"]
    assert list(numbered(here).items()) == [(2, here / "2"), (10, here / "10")]
    assert [path.parent.name for path in found_at(tmp_path, "r?n/part-*")] == ["r?n", "run"]
    assert entries(here / "nothing") == []


def test_only_the_shards_of_the_folder_itself_are_deleted(tmp_path):
    for folder in NAMES:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / shard_name(0, 1)).touch()
    delete_shards(tmp_path / "run*")
    assert {path.name: any(path.iterdir()) for path in tmp_path.iterdir()} == {
        "run": True, "run[1]": True, "run*": False, "r?n": True
    }  # fmt: skip


def test_a_file_of_somebody_unknown_is_read(tmp_path, monkeypatch):
    """As in a container that runs under a number."""

    def nobody(number: int):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    path, rows = tmp_path / "part", random_rows(3)
    write_shard(path, rows)
    assert file_size(path) == len(path.read_bytes())
    assert [row.row for row in read_shard(path)] == [row.row for row in rows]


def test_of_a_link_to_a_folder_the_link_alone_is_deleted(tmp_path):
    here = epath.Path(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").touch()
    (tmp_path / "link").symlink_to("elsewhere")
    (tmp_path / "broken").symlink_to("nothing")
    for name in ("link", "broken", "nothing"):
        remove_folder(here / name)
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]
    assert (tmp_path / "elsewhere" / "file").exists()
    remove_folder(here / "elsewhere")
    assert not any(tmp_path.iterdir())


def test_a_folder_is_deleted_whole_or_not_at_all(tmp_path, monkeypatch):
    """A kill in the middle leaves no half of it under its name, and nothing where it goes on."""

    def killed(folder):
        (folder / "1").unlink()
        raise KeyboardInterrupt

    folder = epath.Path(tmp_path) / "checkpoints"
    for _ in range(2):
        folder.mkdir()
        (folder / "1").touch()
        (folder / "2").touch()
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(type(folder), "rmtree", killed)
            remove_folder(folder)
        assert not folder.exists() and any(tmp_path.iterdir())
        remove_left(folder)
        assert not any(tmp_path.iterdir())


def test_a_pipe_in_a_folder_that_a_library_is_to_open_is_named(tmp_path):
    (tmp_path / "15/state").mkdir(parents=True)
    (tmp_path / "15/state/_METADATA").touch()
    require_files(tmp_path)
    os.mkfifo(tmp_path / "15/state/d")
    with pytest.raises(UserError, match="15/state/d: not a regular file .*move it away"):
        require_files(tmp_path)
    with pytest.raises(UserError, match="15/state/d: not a regular file"):
        read_metadata(tmp_path, 15)
    with pytest.raises(UserError, match="15/state/d: not a regular file"):
        Checkpoints(tmp_path)


def test_a_name_that_is_a_pattern_is_refused(tmp_path):
    require_plain_name(tmp_path / "run-1,2 (3)")
    for name in NAMES[1:]:
        with pytest.raises(UserError, match="give it another name"):
            require_plain_name(tmp_path / name / "checkpoints")
