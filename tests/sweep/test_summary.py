"""What a sweep reports over seeds: mean, spread, gains and their bootstrap, the page."""

import dataclasses
import json
import shutil
import threading

import numpy as np
import pytest

from emnat_jax.artifacts.dataset import Provenance, describe_shard, finish_dataset
from emnat_jax.artifacts.journal import exclusive
from emnat_jax.artifacts.manifest import Manifest, write_manifest
from emnat_jax.artifacts.records import Row, shard_name, write_shard
from emnat_jax.config import DataConfig, EvaluationConfig
from emnat_jax.config.convert import to_dict
from emnat_jax.config.finetune import FinetuneConfig
from emnat_jax.em.resume import keep_config
from emnat_jax.em.train_options import training_options
from emnat_jax.em.workdir import Workspace
from emnat_jax.errors import UserError
from emnat_jax.evaluation.bleu import Significance
from emnat_jax.report import sweep_page
from emnat_jax.report.convert import dumps
from emnat_jax.report.record import (
    Evaluation,
    FinetuneEvaluation,
    Multimodality,
    MultimodalityBySplit,
    Scores,
    SystemScores,
)
from emnat_jax.report.sweep_record import CellSummary, GainOverSeeds, OverSeeds, Steps
from emnat_jax.sweep import summary as sweep_report
from emnat_jax.sweep.cells import Cell
from emnat_jax.sweep.summary import over_seeds, write_sweep_report
from tests.browser import NEEDS_BROWSER, shown
from tests.em.runs import small_config

NCM = Multimodality(1.0, 0.9, 0.8, 0.2, 4, 0.0)


def finished_cell(
    directory,
    name: str,
    seed: int,
    bleu: float,
    lines: list[str],
    multi=None,
    *,
    signature="nrefs:1",
    data=None,
    finetune=FinetuneConfig(),
) -> Cell:
    """A workdir as a run leaves it, as far as a sweep's report reads it."""
    config = dataclasses.replace(small_config(rounds=0), seed=seed)
    data = dataclasses.replace(data or config.data, test_multi=None if multi is None else str(multi))
    em = dataclasses.replace(config.em, finetune=finetune)
    config = dataclasses.replace(config, data=data, em=em)
    cell = Cell("vanilla", name, seed, config)
    here = directory / cell.folder
    keep_config(Workspace(config, here, print))
    (here / "rounds/0/outputs").mkdir(parents=True)
    tested = data.splits[-1]
    for split in (tested, "test_multi"):
        (here / f"rounds/0/outputs/{split}.student.txt").write_text("".join(f"{line}\n" for line in lines))
    student, teacher = (Scores(x, signature, 40.0, "nw:2", 1.0, 0.0, 0.5, 4) for x in (bleu, bleu + 1))
    evaluation = Evaluation(
        round=0,
        teacher=SystemScores(**{"valid": teacher, tested: teacher, "test_multi": teacher}),
        student=SystemScores(**{"valid": student, tested: student, "test_multi": student}),
        ncm=MultimodalityBySplit(NCM, NCM),
    )
    (here / "rounds/0/eval.json").write_text(dumps(evaluation))
    write_split(here / f"data/{tested}", "the cat sat on mat")
    teacher = {"source": write_split(here / "data/train", "a dog")}
    for role, read in {"teacher": teacher, "student": {"start": f"teacher {name}"}}.items():
        trained = training_options(config, role).seed
        model = Manifest("model", f"{role} {name}", 2, 2, {}, [], read, {"step": 40}, trained)
        write_manifest(here / f"rounds/0/{role}", model)
    return cell


def write_split(folder, reference: str) -> str:
    """Four rows with numbered references; their content hash."""
    none = np.array([1], np.int32)
    folder.mkdir(parents=True)
    write_shard(folder / shard_name(0, 1), [Row(i, none, [none], "s", f"{reference} {i}") for i in range(4)])
    shards = [describe_shard(folder / shard_name(0, 1))]
    made = Provenance("bitext", {}, {}, seed=1)
    return finish_dataset(folder, made, shards=shards, rows_in=4, dropped={}).content_hash


def finished_cells(directory, multi=None) -> list[Cell]:
    """Two cells with two seeds each; the second is better, surely."""
    good, bad = [f"the cat sat on mat {i}" for i in range(4)], ["a dog"] * 4
    return [
        finished_cell(directory, name, seed, bleu, lines, multi)
        for seed, (low, high) in ((1, (10.0, 13.0)), (2, (12.0, 13.0)))
        for name, bleu, lines in (("first", low, bad), ("better", high, good))
    ]


def test_measurements_stand_with_mean_and_spread_and_gains_seed_by_seed(tmp_path, monkeypatch):
    cells = finished_cells(tmp_path)
    cells.append(dataclasses.replace(cells[0], name="to come"))
    report = write_sweep_report(cells, tmp_path)
    first, better = report.cells
    assert first.gains == {} and first.measurements["student"] == over_seeds([10.0, 12.0])
    assert first.measurements["student"].mean == 11.0
    assert first.measurements["student"].sd == pytest.approx(2**0.5)
    assert better.gains["test"].values == (3.0, 1.0) and better.gains["test"].mean == 2.0
    assert max(better.gains["test"].p_values) < 0.05 and report.missing == ("cells/vanilla/to come/1",)
    table = sweep_page.sweep_table(report)
    assert "11.00\xa0±\xa01.41" in table and "+2.00\xa0±\xa01.41" in table and "nrefs:1" in table
    page = (tmp_path / "report/index.html").read_text()
    for part in (
        "vanilla: best is better",
        "13.00\xa0±\xa00.00 BLEU",
        "+2.00\xa0±\xa01.41 over first",
        "4 training pairs",
        "Sweep: de to en",
        "in 2 of 2 seeds",
        "cells/vanilla/to come/1",
        "1 of 5 runs are not finished",
        'href="../cells/vanilla/better/2/report/index.html"',
        "<svg",
    ):
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


def test_a_sweep_waits_for_the_report_of_another(tmp_path):
    """Whoever comes last knows all cells; refused, it would leave the other's report, which lacks its own."""
    cells = finished_cells(tmp_path)[:1]
    writer = threading.Thread(target=write_sweep_report, args=(cells, tmp_path))
    with exclusive(tmp_path / "report"):
        writer.start()
        writer.join(0.2)
        assert writer.is_alive() and not (tmp_path / "report/sweep.json").exists()
    writer.join(60)
    assert (tmp_path / "report/sweep.json").exists()


def test_gains_are_over_the_groups_first_and_nothing_else(tmp_path):
    cells = finished_cells(tmp_path)
    shutil.rmtree(tmp_path / cells[2].folder)  # the first of seed 2
    report = write_sweep_report(cells, tmp_path)
    assert report.cells[1].gains["test"].values == (3.0,) and report.missing == ("cells/vanilla/first/2",)
    assert "13.00\xa0±\xa00.00" in (tmp_path / "report/index.html").read_text()


def test_gains_are_on_the_valid_split_where_there_is_no_test_split(tmp_path):
    data = DataConfig(kind="text", train_tsv="own.tsv")
    cells = [
        finished_cell(tmp_path, name, 1, bleu, [line] * 4, data=data)
        for name, bleu, line in (("first", 10.0, "a dog"), ("better", 13.0, "the cat sat on mat 1"))
    ]
    report = write_sweep_report(cells, tmp_path)
    assert report.cells[1].gains["valid"].values == (3.0,) and "test" not in report.cells[1].gains
    table = (tmp_path / "report/table.txt").read_text()
    assert "+3.00" in table and "valid: nrefs:1" in table
    page = (tmp_path / "report/index.html").read_text()
    assert "gain, valid split" in page and "+3.00 over first" in page


def test_no_gain_where_references_differ(tmp_path):
    cells = finished_cells(tmp_path)
    shutil.rmtree(tmp_path / cells[0].folder / "data/test")
    write_split(tmp_path / cells[0].folder / "data/test", "other words than those")
    gains = [
        {split: gain.bleu for split, gain in run.gains.items()}
        for run in write_sweep_report(cells, tmp_path).runs
    ]
    assert gains == [{}, {}, {}, {"test": 1.0}]


def test_no_gain_where_scores_are_of_other_tokens(tmp_path):
    cells = finished_cells(tmp_path)[:1]
    cells.append(finished_cell(tmp_path, "other", 1, 15.0, ["a dog"] * 4, signature="nrefs:1|tok:zh"))
    report = write_sweep_report(cells, tmp_path)
    assert [run.gains for run in report.runs] == [{}, {}]
    assert report.signatures["test"] == "nrefs:1 and nrefs:1|tok:zh"


def test_p_values_are_of_the_tokens_of_the_cell(tmp_path, monkeypatch):
    asked = []

    def significance(ours, theirs, references, scoring, names):
        asked.append(scoring.tokenizer)
        return {"BLEU": Significance(1.0, 2.0, 0.01, "")}

    monkeypatch.setattr(sweep_report, "paired_significance", significance)
    cells = finished_cells(tmp_path)[:2]
    config = dataclasses.replace(cells[0].config, evaluation=EvaluationConfig(tokenizer="zh"))
    cells = [dataclasses.replace(cell, config=config) for cell in cells]
    for cell in cells:
        (tmp_path / cell.folder / "config.json").write_text(json.dumps(to_dict(config)))
    write_sweep_report(cells, tmp_path)
    assert asked == ["zh"]


def test_gains_with_several_references_are_of_those_sentences(tmp_path):
    (tmp_path / "multi.tsv").write_text("s\tthe cat sat on mat 0\tother words here now\n" * 4)
    cells = finished_cells(tmp_path, multi=tmp_path / "multi.tsv")
    report = write_sweep_report(cells, tmp_path)
    gain = report.cells[1].gains["test_multi"]
    assert gain.values == (3.0, 1.0) and max(gain.p_values) < 0.05
    assert "gain, several references" in (tmp_path / "report/index.html").read_text()
    (tmp_path / "multi.tsv").unlink()  # the corpus' folder is elsewhere today
    assert list(write_sweep_report(cells, tmp_path).cells[1].gains) == ["test"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"{",
        lambda data: b"\xff" + data,
        lambda data: b"[" * 9_000,
        lambda data: data.replace(b'"p_value": 0.', b'"p_value": 0.9'),
    ],
    ids=["cut", "not text", "deep", "a digit more"],
)
def test_a_damaged_report_is_made_anew(tmp_path, spoil):
    cells = finished_cells(tmp_path)
    report, path = write_sweep_report(cells, tmp_path), tmp_path / "report/sweep.json"
    assert spoil(path.read_bytes()) != path.read_bytes()
    path.write_bytes(spoil(path.read_bytes()))
    assert write_sweep_report(cells, tmp_path) == report


def test_a_significant_loss_is_no_gain():
    gain = GainOverSeeds(**vars(over_seeds([0.8, -0.6])), p_values=(0.01, 0.02))
    best = cell_summary("b", {1: 20.0}, {"test": gain})
    assert "surely better (p < 0.025) in 1, surely worse in 1 of 2 seeds" in sweep_page._verdict(best, "a")
    alone, both = cell_summary("lucky", {1: 20.0}), cell_summary("both", {1: 21.0, 2: 10.0})
    assert sweep_page._best([alone, both]) == both


def cell_summary(name: str, bleu: dict[int, float], gains=None) -> CellSummary:
    """A cell with the BLEU of its student by seed."""
    measured = {"student": over_seeds(list(bleu.values()))}
    return CellSummary("vanilla", name, tuple(bleu), Steps(40, 40), measured, gains or {})


def test_one_seed_has_no_spread():
    assert over_seeds([4.0]) == OverSeeds(4.0, None, (4.0,))


def test_gains_can_be_over_another_cell(tmp_path):
    cells = finished_cells(tmp_path)
    report = write_sweep_report(cells, tmp_path, over="better")
    first, better = report.cells
    assert better.gains == {} and first.gains["test"].values == (-3.0, -1.0)
    assert "over better" in (tmp_path / "report/index.html").read_text()
    with pytest.raises(UserError, match="--over=best names no cell; there are first, better"):
        write_sweep_report(cells, tmp_path, over="best")


def test_a_cell_with_fine_tuning_is_finished_with_it_and_shows_its_gain(tmp_path):
    tuning = FinetuneConfig(steps=5, objective="likelihood")
    cell = finished_cell(tmp_path, "ngram", 1, 10.0, ["a dog"] * 4, finetune=tuning)
    here = tmp_path / cell.folder
    assert write_sweep_report([cell], tmp_path).missing == (cell.folder,)
    finished_fine_tuning(here, before=10.0, after=11.5, control=11.0)
    report = write_sweep_report([cell], tmp_path)
    found = report.runs[0].measurements
    assert (found["student"], found["finetuned"], found["finetuned_control"]) == (10.0, 11.5, 11.0)
    assert found["finetuned_gain"] == 0.5 and not report.missing
    assert "gain of fine-tuning" in sweep_page.sweep_table(report)


def finished_fine_tuning(here, before: float, after: float, control: float) -> None:
    """finetune/eval.json as a run leaves it."""
    systems = {
        name: SystemScores(valid=scores, test=scores)
        for name, bleu in {"student": before, "finetuned": after, "control": control}.items()
        for scores in [Scores(bleu, "nrefs:1", 40.0, "nw:2", 1.0, 0.0, 0.5, 4)]
    }
    (here / "finetune").mkdir()
    evaluation = FinetuneEvaluation(round=0, **systems, made_from={}, outputs={})
    (here / "finetune/eval.json").write_text(dumps(evaluation))
