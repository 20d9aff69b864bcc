"""The lock of a folder; the lines of the journal are looked at in tests/em/test_damage.py."""

import os
from pathlib import Path

import pytest

from emnat_jax.artifacts.journal import exclusive
from emnat_jax.errors import InUse


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


def test_an_error_inside_is_not_taken_for_one_of_the_lock(tmp_path):
    with pytest.raises(BlockingIOError), exclusive(tmp_path):
        raise BlockingIOError
