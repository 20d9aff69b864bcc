"""A grid of runs: which stages runs share, what taking over does, what is reported over seeds."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from etils import epath

from emnat_jax.cli.main import main
from emnat_jax.config_dict import assign, from_dict, to_dict
from emnat_jax.data.manifest import Manifest, describe_shard, finish_dataset, write_manifest
from emnat_jax.data.records import Row, shard_name, write_shard
from emnat_jax.em import sharing, sweep_report
from emnat_jax.em.plan import Stage, make_plan
from emnat_jax.em.sharing import common_stages, take_over
from emnat_jax.em.sweep import Cell, choose, describe, make_cells, run_cells
from emnat_jax.em.sweep_report import over_seeds, write_sweep_report
from emnat_jax.em.workspace import Workspace
from emnat_jax.errors import UserError
from emnat_jax.report import sweep_page
from emnat_jax.training.distributed import Processes
from tests.browser import NEEDS_BROWSER, shown
from tests.em.grid_file import get_grid
from tests.em.runs import run_in_child, small_config
from tests.em.test_kill import outcome
from tests.em.test_processes import CONFIG, contents


def changed(**keys):
    values = to_dict(small_config())
    for key, value in keys.items():
        assign(values, key.replace("__", "."), value)
    return from_dict(values)


def shared(**keys) -> list[str]:
    return [stage.output for stage in common_stages(changed(**keys), small_config())]


FIRST_ROUND = ["rounds/0/ar", "rounds/0/distilled", "rounds/0/nar", "rounds/0/eval.json", "rounds/0/n_best", "rounds/0/candidates"]  # fmt: skip

EVERYTHING = [stage.output for stage in make_plan(small_config())]


@pytest.mark.parametrize(
    ("keys", "outputs"),
    [
        ({"seed": 7}, []),
        ({"vocab__size": 50}, []),
        ({"teacher__width": 32}, ["data"]),
        ({"teacher_train__steps": 41}, ["data"]),
        ({"select__rule": "nar_top1"}, ["data", *FIRST_ROUND]),
        ({"select__include_reference": True}, ["data", *FIRST_ROUND[:4]]),
        ({"em__candidates": 3}, ["data", *FIRST_ROUND[:4]]),
        ({"student__family": "ctc"}, ["data", "rounds/0/ar", "rounds/0/distilled", "rounds/0/n_best"]),
        ({"student_train__steps": 41}, ["data", "rounds/0/ar", "rounds/0/distilled", "rounds/0/n_best"]),
        ({"em__rounds": 0}, ["data", *FIRST_ROUND[:4]]),
        ({"em__nar_data": "raw"}, ["data", "rounds/0/ar", "rounds/0/n_best"]),
        ({"em__nar_data": "candidates", "em__rows": None}, ["data", "rounds/0/ar"]),
        ({"em__rows": 40}, ["data", *FIRST_ROUND[:4]]),
        ({"em__later_lr_ratio": 0.1}, ["data", *FIRST_ROUND, "rounds/0/selected"]),
        ({"em__stop_min_gain": 0.1}, ["data", *FIRST_ROUND, "rounds/0/selected"]),
        ({"evaluation__samples": 3}, [name for name in EVERYTHING if "eval" not in name]),
    ],
)  # fmt: skip
def test_runs_share_what_no_option_between_them_touches(keys, outputs):
    assert shared(**keys) == outputs


@pytest.mark.parametrize(
    "em", [{}, {"nar_data": "candidates"}, {"candidates_from": ("nar",), "nar_data": "selected", "update_teacher": False}]
)  # fmt: skip
def test_a_run_shares_all_of_itself(em):
    config = small_config(rounds=2, **em)
    assert [stage.output for stage in common_stages(config, config)] == [s.output for s in make_plan(config)]


def test_a_stage_is_taken_over_whole(tmp_path):
    stage, ours, theirs = Stage("train", "rounds/0/ar", 0, "ar"), tmp_path / "ours", tmp_path / "theirs"
    for name in ("state/12/weights", "MANIFEST.json", "metrics.jsonl"):
        path = theirs / "rounds/0/ar" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    left = ours / "rounds/0/ar/state/9"
    left.mkdir(parents=True)  # of a training that was cut off before
    take_over(stage, epath.Path(theirs), epath.Path(ours))
    assert not left.exists()
    found = sorted(str(path.relative_to(ours)) for path in ours.rglob("*") if path.is_file())
    assert found == [f"rounds/0/ar/{name}" for name in ("MANIFEST.json", "metrics.jsonl", "state/12/weights")]
    assert all((ours / name).read_text() == (theirs / name).read_text() for name in found)
    assert stage.is_finished(epath.Path(ours))


@pytest.mark.parametrize("placed", [0, 1])
def test_a_take_over_that_is_cut_off_is_not_finished_and_made_again(tmp_path, monkeypatch, placed):
    stage, ours, theirs = Stage("train", "rounds/0/ar", 0, "ar"), tmp_path / "ours", tmp_path / "theirs"
    folder = theirs / "rounds/0/ar"
    folder.mkdir(parents=True)
    for name in ("MANIFEST.json", "weights"):
        (folder / name).write_text(name)
    real, count = sharing._place, iter(range(9))

    def place(source, target):
        if next(count) == placed:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(sharing, "_place", place)
    with pytest.raises(KeyboardInterrupt):
        take_over(stage, epath.Path(theirs), epath.Path(ours))
    assert not stage.is_finished(epath.Path(ours)) and not (ours / "rounds/0/ar").exists()
    take_over(stage, epath.Path(theirs), epath.Path(ours))
    assert sorted(path.name for path in (ours / "rounds/0/ar").iterdir()) == ["MANIFEST.json", "weights"]


def test_cells_are_every_seed_of_every_change():
    cells = make_cells(to_dict(small_config()), get_grid(), [1, 2])
    assert [(cell.name, cell.seed) for cell in cells[:5]] == [
        ("distilled", 1), ("raw", 1), ("paper", 1), ("posterior", 1), ("distilled", 2)
    ]  # fmt: skip
    assert (
        cells[0].config.em.rounds == 0 and cells[1].config.em.nar_data == "raw" and cells[4].config.seed == 2
    )
    assert small_config() == cells[3].config
    assert [cell.name for cell in choose(cells, "nar/p*")] == ["paper", "posterior"] * 2
    assert describe(cells[:1], "nowhere") == "to do  nar/distilled, seed 1: 0 of 5 stages"


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        ({"nar": {"a": {"em.runds": 1}}}, "cell nar/a: unknown configuration key em.runds; did you mean em.rounds?"),
        ({"nar": {"a": {"em.rounds": "x"}}}, "cell nar/a: em.rounds='x': expected a value of type int."),
        ({"nar": {"../x": {}}}, "'../x' cannot name a folder"),
        ({}, r"get_grid\(\) gives"),
        ({"nar": [1]}, r"group nar: get_grid\(\) gives"),
        ({"nar": {}}, r"group nar: get_grid\(\) gives"),
        ({"nar": {"a": None}}, r"cell nar/a: get_grid\(\) gives"),
        ({"nar": {"a": {1: 2}}}, r"cell nar/a: get_grid\(\) gives"),
        ({"nar": {1: {}}}, "1 cannot name a folder"),
        ({"nar": {"a": {"seed": 3}}}, "cell nar/a: a sweep takes its seeds from --seeds"),
        ({"nar": {"a": {"student.nar": {}}}}, "cell nar/a: student.nar is a group of options"),
    ],
)  # fmt: skip
def test_a_grid_that_cannot_be_is_refused(grid, says):
    with pytest.raises(UserError, match=says):
        make_cells(to_dict(small_config()), grid, [1])


def test_the_command_refuses_what_it_cannot_run(capsys, tmp_path):
    grid = CONFIG.replace("config_file", "grid_file")
    for options, says in (
        ([f"--config={grid}", "--only=nar/x"], "names no cell; there are nar/distilled"),
        ([f"--config={grid}", "--only=nar/raw, nar/x"], "--only=nar/x names no cell"),
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
    assert "to do  nar/posterior, seed 1: 0 of 12 stages" in capsys.readouterr().out


SCORES = {
    "bleu_signature": "nrefs:1",
    "chrf": 40.0,
    "length_ratio": 1.0,
    "repeat_rate": 0.0,
    "type_token_ratio": 0.5,
}


def finished_cell(directory, name: str, seed: int, bleu: float, lines: list[str], multi=None) -> Cell:
    """A workdir as a run leaves it, as far as a sweep's report reads it."""
    config = dataclasses.replace(small_config(rounds=0), seed=seed)
    data = dataclasses.replace(config.data, test_multi=None if multi is None else str(multi))
    config = dataclasses.replace(config, data=data)
    cell = Cell("nar", name, seed, config)
    here = directory / cell.folder
    Workspace(config, here, print).keep_config()
    (here / "rounds/0/outputs").mkdir(parents=True)
    for split in ("test", "test_multi"):
        (here / f"rounds/0/outputs/{split}.nar.txt").write_text("".join(f"{line}\n" for line in lines))
    systems = {role: {split: {"bleu": bleu + (role == "ar"), **SCORES} for split in ("valid", "test", "test_multi")} for role in ("ar", "nar")}  # fmt: skip
    (here / "rounds/0/eval.json").write_text(json.dumps(systems | {"ncm": {"train": {"ncm": 1.0}}}))
    model = Manifest("model", "hash", 2, 2, {}, [], {}, {"step": 40}, seed)
    for role in ("ar", "nar"):
        write_manifest(here / f"rounds/0/{role}", model)
    write_split(here / "data/test", "the cat sat on mat")
    write_split(here / "data/train", "a dog")
    return cell


def write_split(folder, reference: str) -> None:
    """Four rows with numbered references."""
    none = np.array([1], np.int32)
    folder.mkdir(parents=True)
    write_shard(folder / shard_name(0, 1), [Row(i, none, [none], "s", f"{reference} {i}") for i in range(4)])
    shards = [describe_shard(folder / shard_name(0, 1))]
    finish_dataset(
        folder, "bitext", shards=shards, rows_in=4, dropped={}, fingerprints={}, options={}, seed=1
    )


def finished_cells(directory, multi=None) -> list[Cell]:
    """Two cells with two seeds each; the second is better, surely."""
    good, bad = [f"the cat sat on mat {i}" for i in range(4)], ["a dog"] * 4
    return [
        finished_cell(directory, name, seed, bleu, lines, multi)
        for seed, (low, high) in ((1, (10.0, 13.0)), (2, (12.0, 13.0)))
        for name, bleu, lines in (("first", low, bad), ("better", high, good))
    ]


def test_figures_stand_with_mean_and_spread_and_gains_seed_by_seed(tmp_path, monkeypatch):
    cells = finished_cells(tmp_path)
    cells.append(dataclasses.replace(cells[0], name="to come"))
    report = write_sweep_report(cells, tmp_path)
    first, better = report["cells"]
    assert first["gains"] == {} and first["figures"]["student"] == over_seeds([10.0, 12.0])
    assert first["figures"]["student"]["mean"] == 11.0 and first["figures"]["student"]["sd"] == pytest.approx(
        2**0.5
    )
    assert better["gains"]["test"]["values"] == [3.0, 1.0] and better["gains"]["test"]["mean"] == 2.0
    assert max(better["gains"]["test"]["p_values"]) < 0.05 and report["missing"] == ["cells/nar/to come/1"]
    table = sweep_page.sweep_table(report)
    assert "11.00\xa0±\xa01.41" in table and "+2.00\xa0±\xa01.41" in table and "nrefs:1" in table
    page = (tmp_path / "report/index.html").read_text()
    for part in ("nar: best is better", "13.00\xa0±\xa00.00 BLEU", "+2.00\xa0±\xa01.41 over first", "4 training pairs", "Sweep: de to en", "in 2 of 2 seeds", "cells/nar/to come/1", "1 of 5 runs are not finished",
                 'href="../cells/nar/better/2/report/index.html"', "<svg"):  # fmt: skip
        assert part in page, part
    monkeypatch.setattr(
        sweep_report, "paired_significance", lambda *a: pytest.fail("known from the report before")
    )
    assert write_sweep_report(cells, tmp_path) == report


@pytest.mark.slow
@NEEDS_BROWSER
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_page(tmp_path, width):
    write_sweep_report(finished_cells(tmp_path), tmp_path)
    dom, said = shown(tmp_path / "report/index.html", width)
    assert "best is better" in dom and "<svg" in dom and "CONSOLE" not in said


def test_gains_are_over_the_groups_first_and_nothing_else(tmp_path):
    cells = finished_cells(tmp_path)
    shutil.rmtree(tmp_path / cells[2].folder)  # the first of seed 2
    report = write_sweep_report(cells, tmp_path)
    assert report["cells"][1]["gains"]["test"]["values"] == [3.0] and report["missing"] == [
        "cells/nar/first/2"
    ]
    assert "13.00\xa0±\xa00.00" in (tmp_path / "report/index.html").read_text()


def test_no_gain_where_references_differ(tmp_path):
    cells = finished_cells(tmp_path)
    shutil.rmtree(tmp_path / cells[0].folder / "data/test")
    write_split(tmp_path / cells[0].folder / "data/test", "other words than those")
    gains = [
        {split: gain["bleu"] for split, gain in run["gains"].items()}
        for run in write_sweep_report(cells, tmp_path)["runs"]
    ]
    assert gains == [{}, {}, {}, {"test": 1.0}]


def test_gains_with_several_references_are_of_those_sentences(tmp_path):
    (tmp_path / "multi.tsv").write_text("s\tthe cat sat on mat 0\tother words here now\n" * 4)
    cells = finished_cells(tmp_path, multi=tmp_path / "multi.tsv")
    report = write_sweep_report(cells, tmp_path)
    gain = report["cells"][1]["gains"]["test_multi"]
    assert gain["values"] == [3.0, 1.0] and max(gain["p_values"]) < 0.05
    assert "gain, several references" in (tmp_path / "report/index.html").read_text()
    (tmp_path / "multi.tsv").unlink()  # the corpus' folder is elsewhere today
    assert list(write_sweep_report(cells, tmp_path)["cells"][1]["gains"]) == ["test"]


def test_a_damaged_report_is_made_anew(tmp_path):
    cells = finished_cells(tmp_path)
    report = write_sweep_report(cells, tmp_path)
    (tmp_path / "report/sweep.json").write_text("{")
    assert write_sweep_report(cells, tmp_path) == report


def test_a_significant_loss_is_no_gain():
    gain = over_seeds([0.8, -0.6]) | {"p_values": [0.01, 0.02]}
    best = {"cell": "b", "gains": {"test": gain}}
    assert "surely better (p < 0.05) in 1, surely worse in 1 of 2 seeds" in sweep_page._verdict(best, "a")
    alone = {"cell": "lucky", "seeds": [1], "figures": {"student": over_seeds([20.0])}}
    both = {"cell": "both", "seeds": [1, 2], "figures": {"student": over_seeds([21.0, 10.0])}}
    assert sweep_page._best([alone, both])["cell"] == "both"


def test_one_seed_has_no_spread():
    assert over_seeds([4.0]) == {"mean": 4.0, "sd": None, "values": [4.0]}


@pytest.mark.slow
def test_a_cell_that_takes_stages_over_is_the_run_alone(tmp_path):
    cells = make_cells(to_dict(small_config()), get_grid(), [1])
    said = []
    run_cells(cells, choose(cells, "nar/paper,nar/posterior"), tmp_path / "grid", said.append, Processes())
    assert any("rounds/0/candidates: taken over from cells/nar/paper/1" in line for line in said)
    assert run_in_child(tmp_path / "alone", config=cells[3].config) == 0
    swept = tmp_path / "grid" / cells[3].folder
    assert contents(swept) == contents(tmp_path / "alone")
    assert outcome(swept)["outputs"] == outcome(tmp_path / "alone")["outputs"]
