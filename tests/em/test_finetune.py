"""The training after the last round: its place in the plan, its options, a run that adds it, its control."""

import dataclasses
import json
import shutil

import pytest

from emnat_jax.artifacts.manifest import load_manifest
from emnat_jax.config import ModelConfig
from emnat_jax.config.finetune import FinetuneConfig
from emnat_jax.em.plan import make_plan
from emnat_jax.em.resume import change_of, keep_config
from emnat_jax.em.train_options import finetune_options, training_options
from emnat_jax.errors import UserError
from tests.cli.commands import run
from tests.em.runs import MODEL, run_em, small_config, workspace

CTC = ModelConfig(family="ctc", **MODEL)
TUNED = FinetuneConfig(steps=8, lr_ratio=0.5)


def config_of(finetune=TUNED, **em):
    config = small_config(**({"rounds": 0, "rows": None, "student_data": "selected"} | em))
    config = dataclasses.replace(config, student=CTC)
    return dataclasses.replace(config, em=dataclasses.replace(config.em, finetune=finetune))


def tuning(config):
    """The stages that the option adds, by output."""
    plain = dataclasses.replace(config, em=dataclasses.replace(config.em, finetune=FinetuneConfig()))
    before, plan = make_plan(plain), make_plan(config)
    assert plan[: len(before)] == before
    return {stage.output: stage for stage in plan[len(before) :]}


def test_the_last_student_is_trained_on_beside_its_control():
    stages = tuning(config_of(rounds=1))
    assert [*stages] == ["finetune/student", "finetune/control", "finetune/eval.json"]
    for name, objective in (("student", "ngram"), ("control", "likelihood")):
        stage = stages[f"finetune/{name}"]
        assert (stage.start, stage.data, stage.round) == ("rounds/1/student", "rounds/0/selected", 1)
        assert stage.options(config_of(rounds=1)).train.objective == objective
    assert stages["finetune/eval.json"].inputs() == {
        "vocabulary": "data",
        "student": "rounds/1/student",
        "finetuned": "finetune/student",
        "control": "finetune/control",
    }


@pytest.mark.parametrize("changes", [{"control": False}, {"objective": "likelihood"}])
def test_no_control_where_none_is_asked_for_or_it_would_be_the_same(changes):
    assert [*tuning(config_of(dataclasses.replace(TUNED, **changes)))] == [
        "finetune/student",
        "finetune/eval.json",
    ]


def test_steps_and_rate_are_its_own():
    config = config_of(rounds=1)
    plain = training_options(config, "student").train
    tuned, control = (finetune_options(config, 1, 1, name) for name in ("ngram", "likelihood"))
    assert (plain.steps, plain.optim.warmup_steps) == (40, 10)
    assert (tuned.train.steps, tuned.train.optim.warmup_steps) == (8, 2)
    assert tuned.train.optim.peak_lr == pytest.approx(0.5 * plain.optim.peak_lr)
    assert dataclasses.replace(tuned.train, objective="likelihood") == control.train
    assert tuned.seed == control.seed not in {training_options(config, "student", i).seed for i in (0, 1)}


def test_mistakes_name_the_option():
    with pytest.raises(UserError, match=r"objective, control: set steps too"):
        FinetuneConfig(objective="likelihood", control=False)
    with pytest.raises(UserError, match="em.finetune.objective=ngram: the family vanilla"):
        dataclasses.replace(config_of(), student=ModelConfig(family="vanilla", **MODEL))
    with pytest.raises(UserError, match="^em.finetune.steps=8: with em.stop_min_gain"):
        config_of(rounds=1, stop_min_gain=0.1)


def test_more_rounds_afterwards_ask_for_the_folder_to_be_deleted(tmp_path):
    keep_config(workspace(tmp_path, config_of(rounds=1)))
    for output in ("data/train", "rounds/1/student", "finetune/student", "finetune/control"):
        (tmp_path / output).mkdir(parents=True)
        (tmp_path / output / "MANIFEST.json").touch()
    more = workspace(tmp_path, config_of(rounds=2))
    with pytest.raises(UserError, match="em.rounds: .*made again.*: finetune/student, finetune/control"):
        keep_config(more)
    shutil.rmtree(tmp_path / "finetune")
    assert keep_config(more) == ["em.rounds"]


def _train_by_hand(directory):
    """`emnat train --objective` makes a model of the same kind."""
    start, output = directory / "rounds/0/student", directory / "models/ngram"
    options = ("--role=student", "--objective=ngram", "--config.student_train.steps=2", f"--output={output}")
    assert run("train", *options, f"--workdir={directory}", f"--start={start}")[0] == 0
    made = load_manifest(output)
    assert made.options["train"]["objective"] == "ngram"
    assert made.fingerprints["start"] == load_manifest(start).content_hash


@pytest.mark.slow
def test_a_finished_run_is_trained_on(tmp_path):
    """Nothing that was there is made again; the report compares; a third run has nothing to do."""
    directory = tmp_path / "run"
    before = run_em(directory, config_of(FinetuneConfig()))
    assert before["finetuned"] is None
    config = config_of()
    report = run_em(directory, config)
    assert report["rounds"] == before["rounds"]
    found = report["finetuned"]
    assert found["objective"] == "ngram"
    assert found["student"] == {name: before["rounds"][0]["student"][name] for name in found["student"]}
    trainings = [found[name]["training"] for name in ("finetuned", "control")]
    assert [training["step"] for training in trainings] == [8, 8]
    hashes = [load_manifest(directory / f"finetune/{name}").content_hash for name in ("student", "control")]
    assert [training["parameters"] for training in trainings] == hashes and hashes[0] != hashes[1]
    for name in ("student", "control"):
        start = load_manifest(directory / "rounds/0/student").content_hash
        assert load_manifest(directory / f"finetune/{name}").fingerprints["start"] == start
    overs = {(effect["system"], effect["over"]) for effect in found["effects"]}
    assert overs == {("finetuned", "control"), ("finetuned", "student")}
    assert "fine-tuned for ngram, 8 steps" in (directory / "report/table.txt").read_text()
    assert "<h2>Fine-tuning</h2>" in (directory / "report/index.html").read_text()
    lines = (directory / "finetune/student/metrics.jsonl").read_text().splitlines()
    assert "bigram_recall" in json.loads(lines[0])
    _train_by_hand(directory)
    made = (directory / "finetune/eval.json").stat().st_mtime_ns
    assert run_em(directory, config)["finetuned"] == found
    assert (directory / "finetune/eval.json").stat().st_mtime_ns == made
    here = workspace(directory, config).directory
    other = change_of(here, config_of(dataclasses.replace(TUNED, steps=9)))
    assert other.refused == ["em.finetune.steps"] and other.touched[0] == "finetune/student"
    evaluation = tuning(config)["finetune/eval.json"]
    assert evaluation.damage(here) is None
    (directory / "finetune/outputs/test.finetuned.txt").write_text("another\n")
    assert "was changed after it was scored" in evaluation.damage(here)
    shutil.rmtree(directory / "finetune")
    report = run_em(directory, config_of(rounds=1))
    assert [one["round"] for one in report["rounds"]] == [0, 1]
    assert report["rounds"][0]["student"] == before["rounds"][0]["student"]
    start = load_manifest(directory / "rounds/1/student").content_hash
    assert load_manifest(directory / "finetune/student").fingerprints["start"] == start
