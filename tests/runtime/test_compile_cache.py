"""The cache of compiled programs after a kill: what was cut short goes, all else stays."""

import os
import zlib

import numpy as np

from emnat_jax.runtime.compile_cache import delete_cut_entries, is_whole

DATA = np.random.default_rng(0).integers(0, 9, 300_000, np.uint8).tobytes()


def test_an_entry_is_whole_or_cut():
    entry = zlib.compress(DATA)
    assert is_whole(entry) and is_whole(b"\x28\xb5\x2f\xfd\x00")
    for size in (0, 1, 5, 9, 100, len(entry) // 2, len(entry) - 4, len(entry) - 1):
        assert not is_whole(entry[:size])


def test_what_was_cut_since_the_last_start_goes(tmp_path):
    folder = tmp_path / "new/cache"
    delete_cut_entries(folder)
    entry = zlib.compress(DATA)
    for name, data in {
        "whole-cache": entry,
        "cut-cache": entry[:99],
        "other": b"x",
        "early-cache": b"y",
    }.items():
        (folder / name).write_bytes(data)
    os.utime(folder / "early-cache", (1, 1))
    delete_cut_entries(folder)
    assert sorted(path.name for path in folder.glob("[a-z]*")) == ["early-cache", "other", "whole-cache"]


def test_a_folder_that_cannot_be_written_is_left_alone(tmp_path):
    (tmp_path / "file").write_text("x")
    delete_cut_entries(tmp_path / "file")
