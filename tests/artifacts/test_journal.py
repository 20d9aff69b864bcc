"""The lock of a folder; the lines of the journal are looked at in tests/em/test_damage.py."""

import os
from pathlib import Path

import pytest

from emnat_jax.artifacts.journal import exclusive, output_lock
from emnat_jax.errors import InUse, UserError


@pytest.mark.parametrize("name", ["a file", "a link", "a pipe"])
def test_what_lies_under_the_name_of_the_lock_is_neither_emptied_nor_waited_for(tmp_path, name):
    lock, config = tmp_path / "run/.lock", tmp_path / "run/config.json"
    lock.parent.mkdir()
    config.write_text("precious")
    make = {"a file": Path.touch, "a link": lambda path: path.symlink_to("config.json"), "a pipe": os.mkfifo}
    make[name](lock)
    with exclusive(lock.parent):
        with pytest.raises(InUse, match="is in use by another"), exclusive(lock.parent):
            pass
        with pytest.raises(InUse), exclusive(lock.parent):  # the failed one has not released it
            pass
    with exclusive(lock.parent):
        assert config.read_text() == "precious"


@pytest.mark.parametrize("target", ["../elsewhere", ".lock"])
def test_behind_a_link_that_leads_nowhere_no_file_is_made(tmp_path, target):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.lock").symlink_to(target)
    with exclusive(tmp_path / "run"), pytest.raises(InUse), exclusive(tmp_path / "run"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "run").write_text("")
    with (
        pytest.raises(UserError, match="run: cannot be written .* a folder is expected"),
        exclusive(tmp_path / "run"),
    ):
        pass


def test_an_error_inside_is_not_taken_for_one_of_the_lock(tmp_path):
    with pytest.raises(BlockingIOError), exclusive(tmp_path):
        raise BlockingIOError


def test_what_fills_a_place_of_the_rounds_keeps_out_of_a_run(tmp_path):
    """By whatever name the folder is given; a folder of its own may be filled beside the run."""
    workdir = tmp_path / "run"
    (workdir / "rounds").mkdir(parents=True)
    (tmp_path / "link").symlink_to("run")
    with exclusive(workdir):
        for output in (
            workdir / "rounds/0/teacher",
            tmp_path / "link/rounds/1",
            f"{workdir}/models/../rounds/0",
        ):
            with pytest.raises(InUse, match="run is in use"), output_lock(workdir)(output):
                pass
        with output_lock(workdir)(workdir / "models/teacher"), output_lock(workdir)(tmp_path / "m"):
            pass
    with output_lock(workdir)(workdir / "rounds/0/teacher"):
        with pytest.raises(InUse), exclusive(workdir):
            pass
        with pytest.raises(InUse), exclusive(workdir / "rounds/0/teacher"):
            pass
