"""What a message advises works in the place where the message appears."""

import dataclasses
import json
import re
import shutil

import pytest

from emnat_jax.artifacts.manifest import load_manifest
from emnat_jax.artifacts.saved_config import as_saved, copy_of
from emnat_jax.cli.configuration import read_config
from emnat_jax.data.vocab import load_vocabulary
from emnat_jax.em.load import load
from emnat_jax.em.plan import make_plan
from emnat_jax.em.resume import accepted_config, describe, keep_config
from emnat_jax.em.stages.prepare import Prepare
from emnat_jax.em.stages.train import Train
from emnat_jax.errors import UserError
from tests.cli.commands import error_of, run
from tests.em.runs import run_em, small_config, workspace


@pytest.fixture
def copy(finished, tmp_path):
    """A finished workdir to spoil."""
    directory = tmp_path / "run"
    shutil.copytree(finished[0], directory)
    return directory


def with_option(group: str, **changes):
    """The small configuration with other values in one of its groups."""
    config = small_config()
    return dataclasses.replace(config, **{group: dataclasses.replace(getattr(config, group), **changes)})


def with_optim(role: str, **changes):
    optim = getattr(small_config(), f"{role}_train").optim
    return with_option(f"{role}_train", optim=dataclasses.replace(optim, **changes))


def delete(path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


CHANGES = {
    "seed": dataclasses.replace(small_config(), seed=9),
    "a rate": with_optim("student", peak_lr=1e-4),
    "the rule": with_option("select", alpha=0.3),
    "the later rates": with_option("em", later_lr_ratio=0.1),
    "the vocabulary": with_option("vocab", size=50),
    "the corpus": with_option("data", rows_per_shard=30),
}


@pytest.mark.parametrize("config", CHANGES.values(), ids=CHANGES)
def test_a_change_that_is_refused_names_what_is_to_be_deleted_for_it(copy, config):
    with pytest.raises(UserError, match="or delete what they made: ") as raised:
        keep_config(workspace(copy, config))
    named = str(raised.value).split("they made: ")[1].rstrip(".").split(" and ")[0].split(", ")
    plan = describe(copy, config).splitlines()
    others = [line.split()[2] for line in plan if line.startswith("other")]
    made = [part for output in others for part in (("data", "vocab") if output == "data" else (output,))]
    assert named == made[: len(named)] and plan[-1].startswith(f"delete to have it made anew: {named[0]}")
    for part in made:
        delete(copy / part)
    assert "other" not in {line.split()[0] for line in describe(copy, config).splitlines()}
    assert keep_config(workspace(copy, config))
    if "data" in others:
        Prepare().run(Prepare().options(config), workspace(copy, config).context)


def test_the_plan_names_what_would_start_from_the_beginning(copy):
    (copy / "rounds/1/teacher/MANIFEST.json").unlink()  # as if it had been killed
    for output in ("distilled", "student", "control", "eval.json"):
        delete(copy / "rounds/1" / output)
    config = with_option("em", later_lr_ratio=0.1)
    lines = describe(copy, config).splitlines()
    assert [line.split()[2] for line in lines if line.startswith("anew")] == ["rounds/1/teacher"]
    assert lines[-1] == "begun with other values, would start from the beginning: rounds/1/teacher."
    said = []
    work = workspace(copy, config)
    work.log = said.append
    keep_config(work)
    assert "rounds/1/teacher: was begun with other values, starts from the beginning" in said


WILD = {"peak_lr": 1e38, "clip_norm": 1e38, "warmup_steps": 1}


@pytest.mark.slow
def test_a_rate_is_lowered_after_a_loss_that_is_not_finite(finished, tmp_path, capsys):
    """Of a single model in another folder; test_begun.py has the teacher of the rounds."""
    words = ["train", "--role=student", f"--workdir={finished[0]}", "--config.student_train.steps=3"]
    options = [f"--config.student_train.optim.{name}={value}" for name, value in WILD.items()]
    message = error_of(capsys, *words, *options, f"--output={tmp_path / 'm'}")
    assert "lower student_train.optim.peak_lr and train again, in another --output" in message
    assert run(*words, f"--output={tmp_path / 'n'}")[0] == 0


@pytest.mark.slow
def test_the_rate_of_a_student_among_rounds_is_lowered_in_the_same_workdir(copy):
    shutil.rmtree(copy / "rounds/1")
    for output in ("student", "candidates", "selected", "eval.json"):
        delete(copy / "rounds/0" / output)
    with pytest.raises(UserError, match="lower student_train.optim.peak_lr and run again"):
        run_em(copy, with_optim("student", **WILD))
    assert "refused" not in describe(copy, with_optim("student", peak_lr=1e-4))
    assert keep_config(workspace(copy, with_optim("student", peak_lr=1e-4)))


def test_a_later_round_advises_the_rate_of_later_rounds(copy):
    stages = [stage for stage in make_plan(small_config()) if isinstance(stage, Train) and stage.round == 1]
    for stage in stages:
        assert "lower em.later_lr_ratio" in stage._remedy() and "emnat em --plan" in stage._remedy()
    cold = [stage for stage in make_plan(small_config(warm_start=False)) if isinstance(stage, Train)]
    remedies = {stage.output: stage._remedy() for stage in cold}
    assert "lower teacher_train.optim.peak_lr" in remedies["rounds/1/teacher"]


VOCABULARY = {
    "the manifest is lost": lambda vocab: (vocab / "MANIFEST.json").unlink(),
    "the model is lost": lambda vocab: (vocab / "model").unlink(),
    "all is lost": shutil.rmtree,
    "the manifest is damaged": lambda vocab: (vocab / "MANIFEST.json").write_text("{"),
    "the model is damaged": lambda vocab: (vocab / "model").write_bytes(b"x"),
}


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(
            spoil, id=what, marks=() if what in ("all is lost", "the model is damaged") else pytest.mark.slow
        )
        for what, spoil in VOCABULARY.items()
    ],
)
def test_a_vocabulary_is_made_again(finished, copy, capsys, spoil):
    spoil(copy / "vocab")
    with pytest.raises(UserError, match="run `emnat prepare`") as raised:
        load_vocabulary(copy / "vocab")
    if found := re.search(r"(\S+)( is damaged| has fingerprint).* or delete it", str(raised.value)):
        (copy / "vocab" / found[1].split("/")[-1]).unlink()
    assert run("prepare", f"--workdir={copy}", capsys=capsys)[0] == 0
    vocabulary = load_vocabulary(copy / "vocab")
    assert vocabulary.fingerprint == load_vocabulary(finished[0] / "vocab").fingerprint
    assert load(copy).translate(["a b"]) == load(finished[0]).translate(["a b"])


def test_a_vocabulary_of_something_else_does_not_take_its_place(copy, capsys):
    shutil.rmtree(copy / "vocab")
    words = ["prepare", f"--workdir={copy}"]
    assert "options under vocab have changed" in error_of(capsys, *words, "--config.vocab.size=9")
    assert not (copy / "vocab").exists()
    assert run(*words, capsys=capsys)[0] == 0


def test_a_damaged_set_is_made_again(finished, copy, capsys):
    shard = next((copy / "data/train").glob("part-*"))
    shard.write_bytes(shard.read_bytes()[:-5])
    with pytest.raises(UserError, match=f"delete {copy}/data/train and make it again"):
        load_manifest(copy / "data/train")
    shutil.rmtree(copy / "data/train")
    assert run("prepare", f"--workdir={copy}", capsys=capsys)[0] == 0
    hashes = [load_manifest(path / "data/train").content_hash for path in (copy, finished[0])]
    assert hashes[0] == hashes[1]


@pytest.mark.slow
def test_a_damaged_checkpoint_is_trained_again_without_a_librarys_traceback(copy, capfd):
    folder = copy / "rounds/1/student"
    parts = [path for path in (folder / "checkpoints/20/state/d").iterdir() if path.is_file()]
    for part in parts:
        part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(UserError, match="delete the model's folder, above checkpoints/, and train it again"):
        load(copy)
    assert "Traceback" not in capfd.readouterr().err
    shutil.rmtree(folder)
    run_em(copy)
    assert len(load(copy).translate(["a b"])) == 1


def test_a_lost_configuration_is_found_again_or_named(finished, copy, capsys):
    config = copy / "config.json"
    before = config.read_text()
    config.unlink()
    code, output = run("em", f"--workdir={copy}", "--plan", capsys=capsys)
    assert code == 0 and "config.json is lost; goes by its copy in journal.jsonl" in output.err
    assert {line.split()[0] for line in output.out.splitlines()} == {"done"}
    with pytest.raises(UserError, match="select.alpha"):
        keep_config(workspace(copy, with_option("select", alpha=0.3)))
    assert not config.exists()
    assert keep_config(workspace(copy)) == [] and config.read_text() == before
    config.unlink()
    (copy / "journal.jsonl").rename(copy / "aside")
    for command in ("em", "translate", "report", "prepare"):
        assert "config.json is lost" in error_of(capsys, command, f"--workdir={copy}", "--config.seed=1")
    for call in (lambda: load(copy), lambda: run_em(copy)):
        with pytest.raises(UserError, match=r"config.json is lost.*restore one of them"):
            call()
    assert not config.exists()
    (copy / "aside").rename(copy / "journal.jsonl")
    assert load(copy).translate([]) == []


def test_a_mistake_in_the_corpus_leaves_no_configuration_behind(tmp_path):
    """Neither in a new workdir nor in one that has a configuration."""
    here = tmp_path / "run"
    wrong = with_option("vocab", model="bpe", size=9)
    for before in (None, small_config()):
        work = workspace(here, wrong)
        with pytest.raises(UserError, match=r"vocab\.size=9"), accepted_config(work):
            Prepare().run(Prepare().options(wrong), work.context)
        assert (here / "config.json").exists() == (before is not None)
        if before is None:
            work = workspace(here)
            with accepted_config(work):
                pass
    assert json.loads((here / "config.json").read_text()) == as_saved(small_config())
    assert copy_of(here) == as_saved(small_config())


def test_commands_that_follow_prepare_go_by_its_configuration(tmp_path, capsys):
    words = [f"--workdir={tmp_path / 'w'}", "--config=tests/em/config_file.py"]
    assert run("prepare", *words, "--config.vocab.size=70", capsys=capsys)[0] == 0
    assert read_config([], str(tmp_path / "w")).vocab.size == 70
    assert "holds no run; begin one: emnat em" in error_of(capsys, "report", words[0])


def test_scores_that_are_missing_are_added_as_the_message_says(finished, tmp_path, capsys):
    here, candidates = finished[0], finished[0] / "rounds/0/n_best"
    select = ["select", f"--workdir={here}", f"--output={tmp_path / 'chosen'}"]
    for model in ("student", "teacher"):
        message = error_of(capsys, *select, f"--candidates={candidates}")
        given = {"workdir": here, "model": here / "rounds/0" / model, "output": tmp_path / model}
        command = message.split("in a new folder: emnat ")[1].strip()
        for name, value in given.items():
            command = command.replace(f"--{name}=...", f"--{name}={value}")
        assert run(*command.split(), capsys=capsys)[0] == 0
        candidates = tmp_path / model
    assert run(*select, f"--candidates={candidates}", capsys=capsys)[0] == 0


@pytest.mark.slow
def test_rows_that_do_not_divide_are_made_to(copy, tmp_path, capsys):
    train = ["train", "--role=student", f"--workdir={copy}", f"--output={tmp_path / 'model'}"]
    train += ["--config.student_train.steps=2", "--config.student_train.accumulate=3"]
    multiple = re.search(r"use a multiple of (\d+)", error_of(capsys, *train))[1]
    assert run(*train, f"--config.data.row_multiple={multiple}")[0] == 0
