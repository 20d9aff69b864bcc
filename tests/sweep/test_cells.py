"""A grid of runs: its cells, what it refuses, and that a cell which takes stages over is the run alone."""

from pathlib import Path

import pytest
from etils import epath

from emnat_jax.cli.main import main
from emnat_jax.config.convert import to_dict
from emnat_jax.em.workdir import Workspace
from emnat_jax.errors import UserError
from emnat_jax.runtime.processes import Processes
from emnat_jax.sweep.cells import _take, choose, describe, make_cells, run_cells
from tests.em.runs import run_in_child, small_config
from tests.em.test_kill import outcome
from tests.em.test_processes import CONFIG, contents
from tests.sweep.grid_file import get_grid


def test_cells_are_every_seed_of_every_change():
    cells = make_cells(to_dict(small_config()), get_grid(), [1, 2])
    assert [(cell.name, cell.seed) for cell in cells[:5]] == [
        ("distilled", 1),
        ("raw", 1),
        ("paper", 1),
        ("posterior", 1),
        ("distilled", 2),
    ]
    assert (
        cells[0].config.em.rounds == 0
        and cells[1].config.em.student_data == "raw"
        and cells[4].config.seed == 2
    )
    assert small_config() == cells[3].config
    assert [cell.name for cell in choose(cells, "vanilla/p*")] == ["paper", "posterior"] * 2
    assert describe(cells[:1], "nowhere") == "to do  vanilla/distilled, seed 1: 0 of 5 stages"


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        (
            {"vanilla": {"a": {"em.runds": 1}}},
            "cell vanilla/a: unknown configuration key em.runds; did you mean em.rounds?",
        ),
        (
            {"vanilla": {"a": {"em.rounds": "x"}}},
            "cell vanilla/a: em.rounds='x': expected a value of type int.",
        ),
        ({"vanilla": {"../x": {}}}, "'../x' cannot name a folder"),
        ({}, r"get_grid\(\) gives"),
        ({"vanilla": [1]}, r"group vanilla: get_grid\(\) gives"),
        ({"vanilla": {}}, r"group vanilla: get_grid\(\) gives"),
        ({"vanilla": {"a": None}}, r"cell vanilla/a: get_grid\(\) gives"),
        ({"vanilla": {"a": {1: 2}}}, r"cell vanilla/a: get_grid\(\) gives"),
        ({"vanilla": {1: {}}}, "1 cannot name a folder"),
        ({"vanilla": {"a": {"seed": 3}}}, "cell vanilla/a: a sweep takes its seeds from --seeds"),
        (
            {"vanilla": {"a": {"student.vanilla": {}}}},
            "cell vanilla/a: student.vanilla is a group of options",
        ),
    ],
)
def test_a_grid_that_cannot_be_is_refused(grid, says):
    with pytest.raises(UserError, match=says):
        make_cells(to_dict(small_config()), grid, [1])


def test_the_command_refuses_what_it_cannot_run(capsys, tmp_path):
    grid = Path(__file__).with_name("grid_file.py")
    for options, says in (
        ([f"--config={grid}", "--only=vanilla/x"], "names no cell; there are vanilla/distilled"),
        ([f"--config={grid}", "--only=vanilla/raw, vanilla/x"], "--only=vanilla/x names no cell"),
        ([f"--config={grid}", "--config.seed=3"], "takes its seeds from --seeds"),
        ([f"--config={grid}", "--report"], "holds no sweep"),
        ([f"--config={grid}", "--seeds=1,a"], "--seeds=1,a: give whole numbers"),
        ([f"--config={grid}", "--seeds=1,1"], "different seeds"),
        ([f"--config={CONFIG}"], "get_grid"),
        ([], "needs --config"),
    ):
        assert main(["sweep", f"--workdir={tmp_path}", *options]) == 2
        assert says in capsys.readouterr().err
    assert main(["sweep", f"--workdir={tmp_path}", f"--config={grid}", "--plan"]) == 0
    assert "to do  vanilla/posterior, seed 1: 0 of 13 stages" in capsys.readouterr().out


def test_a_damaged_cell_gives_nothing_and_stops_no_other(tmp_path):
    damaged, cell, *_ = make_cells(to_dict(small_config()), get_grid(), [1])
    said, config = [], tmp_path / damaged.folder / "config.json"
    config.parent.mkdir(parents=True)
    config.write_text("{")
    work = Workspace(cell.config, tmp_path / cell.folder, said.append)
    _take(work, damaged, epath.Path(tmp_path))
    assert len(said) == 1 and said[0].startswith(f"takes nothing over from {damaged.folder}: ")


def test_an_error_of_one_process_alone_ends_the_sweep(tmp_path, monkeypatch):
    """The others wait for it in that cell; an error of all is noted, and the next cell runs."""

    class Some(Processes):
        def all_reach(self, place, seconds):
            return "first" not in place

    def refuse(work, cell, cells, directory):
        raise UserError(f"no space left for {cell.name}")

    monkeypatch.setattr("emnat_jax.sweep.cells._run_cell", refuse)
    grid = {"group": {"first": {}, "second": {}, "third": {}}}
    cells = make_cells(to_dict(small_config()), grid, [1])
    failed = run_cells(cells, cells[1:], tmp_path, print, Some())
    assert list(failed.values()) == ["no space left for second", "no space left for third"]
    with pytest.raises(UserError, match="no space left for first"):
        run_cells(cells, cells, tmp_path, print, Some())


@pytest.mark.slow
def test_a_cell_that_takes_stages_over_is_the_run_alone(tmp_path):
    cells = make_cells(to_dict(small_config()), get_grid(), [1])
    said = []
    run_cells(
        cells, choose(cells, "vanilla/paper,vanilla/posterior"), tmp_path / "grid", said.append, Processes()
    )
    assert any("rounds/0/candidates: taken over from cells/vanilla/paper/1" in line for line in said)
    assert run_in_child(tmp_path / "alone", config=cells[3].config) == 0
    swept = tmp_path / "grid" / cells[3].folder
    assert contents(swept) == contents(tmp_path / "alone")
    assert outcome(swept)["outputs"] == outcome(tmp_path / "alone")["outputs"]
