"""Cells of a sweep that are damaged, or hold what is another's: they are not reported, but run again."""

import dataclasses
import json
import shutil

import pytest
from etils import epath

from emnat_jax.em.resume import keep_config
from emnat_jax.em.workdir import Workspace
from emnat_jax.errors import UserError
from emnat_jax.sweep.cells import _is_done
from emnat_jax.sweep.summary import write_sweep_report
from tests.data.rows import edit_manifest
from tests.sweep.test_summary import finished_cell, finished_cells, write_split


def swap(one, other) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("rounds/0/eval.json", "rounds/0/eval.json: it is of another teacher"),
        ("rounds/0/student", "rounds/0/student was not made from .*rounds/0/teacher as it is now"),
        ("data/train", "rounds/0/teacher was not made from .*data/train as it is now"),
    ],
)
def test_what_belongs_to_another_cell_is_not_reported(tmp_path, place, message):
    cells = finished_cells(tmp_path)
    first, better = (tmp_path / cell.folder for cell in cells[:2])
    for here, name in ((first, "first"), (better, "better")):
        values = json.loads((here / "rounds/0/eval.json").read_text())
        values["made_from"] = {role: f"{role} {name}" for role in ("teacher", "student")}
        (here / "rounds/0/eval.json").write_text(json.dumps(values))
    write_sweep_report(cells, tmp_path)
    if place == "data/train":
        shutil.rmtree(first / place)
        write_split(first / place, "a cat")
        edit_manifest(first / place, content_hash="0" * 64)
    else:
        swap(first / place, better / place)
    with pytest.raises(UserError, match=message):
        write_sweep_report(cells, tmp_path)


@pytest.mark.parametrize("lost", [None, "rounds", "rounds/0/eval.json"])
def test_a_run_that_a_rule_has_ended_is_finished_as_long_as_its_rounds_are_there(tmp_path, lost):
    cell = finished_cell(tmp_path, "stopped", 1, 10.0, ["a dog"] * 4)
    em = dataclasses.replace(cell.config.em, rounds=2)
    cell = dataclasses.replace(cell, config=dataclasses.replace(cell.config, em=em))
    here = tmp_path / cell.folder
    keep_config(Workspace(cell.config, here, print))
    assert write_sweep_report([cell], tmp_path).missing == (cell.folder,)
    (here / "report").mkdir()
    (here / "report/report.json").write_text(json.dumps({"rounds": [{"round": 0}], "stopped": "no gain"}))
    if lost is not None:
        path = here / lost
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    missing = write_sweep_report([cell], tmp_path).missing
    assert missing == (() if lost is None else (cell.folder,))


def test_a_cell_that_is_damaged_is_not_taken_for_done(tmp_path):
    cell = finished_cell(tmp_path, "first", 1, 10.0, ["a dog"] * 4)
    here, said = tmp_path / cell.folder, []
    work = Workspace(cell.config, here, said.append)
    assert not _is_done(work, cell, epath.Path(tmp_path))  # it has no report
    (here / "report").mkdir()
    (here / "report/index.html").touch()
    assert _is_done(work, cell, epath.Path(tmp_path)) and not said
    (here / "rounds/0/eval.json").write_text("{")
    assert not _is_done(work, cell, epath.Path(tmp_path)) and "rounds/0/eval.json" in said[0]
