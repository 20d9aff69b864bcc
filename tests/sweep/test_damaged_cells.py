"""Cells of a sweep that are damaged, or hold what is another's: they are named, the others reported."""

import dataclasses
import json
import re
import shutil

import pytest
from etils import epath

from emnat_jax.em.resume import keep_config
from emnat_jax.em.workdir import Workspace
from emnat_jax.sweep.cells import _is_done
from emnat_jax.sweep.summary import write_sweep_report
from tests.cli.commands import run
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
    report = write_sweep_report(cells, tmp_path)
    assert re.search(message, report.damaged[cells[0].folder])
    left = [cell.folder for cell in cells if cell.folder not in report.damaged]
    assert [one.folder for one in report.runs] == left and cells[2].folder in left and not report.missing
    for name in ("table.txt", "index.html"):
        assert f"left out: {cells[0].folder}: " in (tmp_path / "report" / name).read_text()


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


GRID = """
from emnat_jax.config.convert import to_dict
from tests.em.runs import small_config

def get_config():
    return to_dict(small_config(rounds=0))

def get_grid():
    return {"vanilla": {"first": {}, "better": {}}}
"""


def test_the_command_reports_the_cells_and_seeds_that_it_is_asked_for(tmp_path, capsys):
    cells = finished_cells(tmp_path / "sweep")
    (tmp_path / "grid.py").write_text(GRID)
    command = ["sweep", f"--config={tmp_path}/grid.py", f"--workdir={tmp_path}/sweep", "--report", "--json"]

    def reported(*options: str) -> dict:
        code, said = run(*command, *options, capsys=capsys)
        assert code == (2 if damaged else 0) and all(folder in said.err for folder in damaged)
        return json.loads(said.out)

    damaged: list[str] = []
    assert [one["folder"] for one in reported()["runs"]] == [cell.folder for cell in cells]
    report = reported("--only=vanilla/better", "--seeds=2")
    assert [one["folder"] for one in report["runs"]] == [cells[3].folder]
    assert report["runs"][0]["gains"]["test"]["over"] == "first" and not report["missing"]
    assert reported("--seeds=7")["missing"] == ["cells/vanilla/first/7", "cells/vanilla/better/7"]
    damaged.append(cells[1].folder)
    (tmp_path / "sweep" / cells[1].folder / "rounds/0/eval.json").write_text("{")
    report = reported()
    assert list(report["damaged"]) == damaged and len(report["runs"]) == 3
