"""What a training in a workdir is judged by: BLEU of its own outputs, or its loss on the teacher's."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.artifacts.manifest import load_manifest
from emnat_jax.config import Config
from emnat_jax.data.pairs import make_pairs
from emnat_jax.em.ncm import outputs_as_targets
from emnat_jax.em.plan import make_plan
from emnat_jax.em.report import write_report
from emnat_jax.em.train_model import Sources, train_model
from emnat_jax.em.train_options import training_options
from emnat_jax.errors import UserError
from emnat_jax.evaluation.bleu import corpus_bleu
from emnat_jax.inference.model import CompiledModel
from emnat_jax.training.metrics import metrics_digest, read_metrics
from tests.data.rows import edit_manifest
from tests.em.runs import round_model, small_config, workspace

ROWS = 10  # of the 24 of the valid split


def config_with(role="student", **train) -> Config:
    base = small_config()
    train = {"best_rows": ROWS, "steps": 40, "eval_every": 20} | train
    return dataclasses.replace(
        base, **{f"{role}_train": dataclasses.replace(getattr(base, f"{role}_train"), **train)}
    )


def trained(finished, output, config, role="student", teacher=None):
    """(the workdir, the manifest of a model of that configuration, its valid figures by step)."""
    work = workspace(finished[0], config)
    sources = Sources(work.directory / "data/train", teacher=teacher)
    manifest = train_model(work.context, training_options(config, role), sources, output, label="test")
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return work, manifest, {row["step"]: row for row in rows if "valid_loss" in row}


def valid_rows(work):
    return list(read_dataset(work.directory / "data/valid"))[:ROWS]


@pytest.mark.slow
def test_bleu_is_that_of_the_models_own_outputs(finished, tmp_path):
    work, manifest, figures = trained(finished, tmp_path / "model", config_with(best_by="bleu"))
    chosen = manifest.options["chosen"]
    best = max(figures, key=lambda step: figures[step]["valid_bleu"])
    assert chosen["by"] == "bleu" and chosen["steps"] == [best] and manifest.options["step"] == best
    assert figures[best]["valid_bleu"] == chosen["value"] == pytest.approx(bleu_of(work, tmp_path / "model"))


@pytest.mark.slow
def test_the_mean_of_the_best_is_what_is_loaded(finished, tmp_path):
    config = config_with("teacher", average_best=2, eval_every=10)
    work, manifest, figures = trained(finished, tmp_path / "model", config, "teacher")
    chosen = manifest.options["chosen"]
    worst_kept = min(figures[step]["valid_bleu"] for step in chosen["steps"])
    assert len(chosen["steps"]) == 2
    assert worst_kept >= max(figures[step]["valid_bleu"] for step in figures.keys() - {*chosen["steps"]})
    assert chosen["value"] == pytest.approx(bleu_of(work, tmp_path / "model"))


def bleu_of(work, folder):
    rows = valid_rows(work)
    outputs = work.load(folder).translate([row.source_text for row in rows])
    return corpus_bleu(outputs, [[row.target_text for row in rows]])


@pytest.mark.slow
def test_the_distilled_loss_is_on_the_teachers_translations(finished, tmp_path):
    config = config_with(best_by="distilled_loss")
    teacher = finished[0] / "rounds/0/teacher"
    work, manifest, figures = trained(finished, tmp_path / "model", config, teacher=teacher)
    rows, model = valid_rows(work), work.load(tmp_path / "model")
    pairs = outputs_as_targets(rows, round_model(work, 0, "teacher").decode(make_pairs(rows)))
    loss = model.metrics(pairs)["loss"].value()
    best = min(figures, key=lambda step: figures[step]["valid_distilled_loss"])
    assert manifest.options["chosen"]["steps"] == [best]
    np.testing.assert_allclose(manifest.options["chosen"]["value"], loss, rtol=1e-5)
    assert loss != pytest.approx(manifest.options["valid_loss"], rel=1e-3)
    assert manifest.fingerprints["teacher"] == load_manifest(teacher).content_hash
    with pytest.raises(UserError, match="--teacher=DIR"):
        trained(finished, tmp_path / "none", config)


@pytest.mark.parametrize("changes", [{}, {"best_by": "loss", "patience": 5}])
@pytest.mark.slow
def test_nothing_is_translated_unless_it_is_asked_for(finished, tmp_path, monkeypatch, changes):
    def decode(*_):
        raise AssertionError("translated")

    monkeypatch.setattr(CompiledModel, "decode", decode)
    _, _, figures = trained(finished, tmp_path / "model", config_with(**changes))
    assert all("valid_bleu" not in row for row in figures.values()) and figures


def test_what_a_best_evaluation_is_by_default():
    def chosen_by(**train):
        return config_with(**train).student_train.chosen_by

    assert chosen_by() is None
    assert chosen_by(patience=2) == chosen_by(average_best=2) == "bleu"
    assert chosen_by(patience=2, best_by="loss") == chosen_by(best_by="loss") == "loss"
    with pytest.raises(UserError, match="best_by='blue'.*bleu, loss, distilled_loss"):
        config_with(best_by="blue")
    with pytest.raises(UserError, match="teacher_train.best_by=distilled_loss.*use bleu or loss"):
        config_with("teacher", best_by="distilled_loss")


def test_a_plan_gives_the_students_teacher_only_where_it_is_asked():
    def teachers(config):
        students = [stage for stage in make_plan(config) if getattr(stage, "role", "") == "student"]
        return {stage.output: stage.inputs().get("teacher") for stage in students}

    def of_round_1(teacher):
        return {"rounds/0/student": zero, "rounds/1/student": teacher, "rounds/1/control": zero}

    assert set(teachers(config_with(best_by="bleu")).values()) == {None}
    zero, asked = "rounds/0/teacher", config_with(best_by="distilled_loss")
    assert teachers(asked) == of_round_1("rounds/1/teacher")
    raw = dataclasses.replace(
        asked, em=dataclasses.replace(asked.em, update_teacher=False, student_data="selected")
    )
    assert teachers(raw) == of_round_1(zero)


def test_the_report_shows_bleu_by_step_where_it_was_measured(finished, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(finished[0], workdir)
    work, title = workspace(workdir), "BLEU of the student on the valid split"
    write_report(work)
    assert title not in (workdir / "report/index.html").read_text()
    student = workdir / "rounds/0/student"
    with open(student / "metrics.jsonl", "a") as file:
        file.write('{"step": 20, "valid_loss": 3.0, "valid_bleu": 12.5}\n')
    options = load_manifest(student).options | {"metrics": metrics_digest(read_metrics(student))}
    edit_manifest(student, options=options)
    report = write_report(work)
    curve = next(curve for curve in report.curves if (curve.round, curve.role) == (0, "student"))
    assert curve.valid_bleu == ((20, 12.5),)
    assert title in (workdir / "report/index.html").read_text()
