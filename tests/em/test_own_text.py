"""A run on text as people have it: one tab-separated file, no valid and no test split, further sources."""

import dataclasses
import json

import pytest

from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.artifacts.manifest import is_finished, load_manifest
from emnat_jax.config import Config, DataConfig, ModesOptions, VocabConfig
from emnat_jax.data.modes import generate
from emnat_jax.em.plan import make_plan
from emnat_jax.errors import UserError
from tests.cli.commands import error_of, run
from tests.em.runs import run_in_child, small_config

pytestmark = pytest.mark.slow  # two trainings of a run of its own
TRAIN, MONO = 90, 20
WORDS = ModesOptions(modes=4, words=8, min_length=3, max_length=5, train_rows=TRAIN + MONO)


def own_text(folder, **em) -> Config:
    """The generated task as files: pairs in one, sources alone in another."""
    folder.mkdir(exist_ok=True)
    pairs = list(generate(WORDS, "train", 1))
    (folder / "own.tsv").write_text("".join(f"{pair.source}\t{pair.target}\n" for pair in pairs[:TRAIN]))
    (folder / "mono").write_text("".join(f"{pair.source}\n" for pair in pairs[TRAIN:]) + "\n")
    base = small_config(**{"rows": None} | em)
    data = dataclasses.replace(
        base.data,
        kind="text",
        options=None,
        root=str(folder),
        train_tsv="own.tsv",
        mono_source="mono",
        valid_rows=10,
    )
    return dataclasses.replace(base, data=data)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(folder, configuration, report) of a run."""
    folder = tmp_path_factory.mktemp("own")
    config = own_text(folder)
    work = folder / "work"
    assert run_in_child(work, config=config) == 0, work.with_suffix(".log").read_text()
    return folder, config, json.loads((work / "report/report.json").read_text())


def test_the_valid_split_is_reported_where_there_is_no_test_split(finished):
    folder, _, report = finished
    work = folder / "work"
    assert not is_finished(work / "data/test")
    for index, found in enumerate(report["rounds"]):
        evaluation = json.loads((work / f"rounds/{index}/eval.json").read_text())
        assert evaluation["teacher"]["test"] is found["student"]["test"] is None
        assert found["student"]["valid"]["sentences"] == 10
        assert sum(bucket["sentences"] for bucket in report["by_length"][str(index)]) == 10
    valid = {row.source_text for row in read_dataset(work / "data/valid")}
    assert {sample["source"] for sample in report["samples"]} <= valid
    assert {effect["split"] for effect in report["effects"]} == {"valid"}
    page, table = ((work / f"report/{name}").read_text() for name in ("index.html", "table.txt"))
    assert "valid split, for there is no test split" in page and "Test split" not in page
    assert "valid split, for there is no test split" in table
    assert "(own.tsv)" in page


def test_further_sources_are_learned_from_by_students_alone(finished):
    folder, _, report = finished
    work = folder / "work"
    train, mono = (load_manifest(work / f"data/{name}") for name in ("train", "mono"))
    assert mono.rows_out == MONO and mono.dropped["empty_line"] == 1
    rows = {name: {row.row for row in read_dataset(work / f"data/{name}")} for name in ("train", "mono")}
    assert not rows["train"] & rows["mono"]
    for index, found in enumerate(report["rounds"]):
        made = load_manifest(work / f"rounds/{index}/distilled_mono")
        assert made.fingerprints["source"] == mono.content_hash
        assert made.fingerprints["model"] == found["teacher"]["training"]["parameters"]
        students = load_manifest(work / f"rounds/{index}/student")
        teachers = load_manifest(work / f"rounds/{index}/teacher")
        assert students.fingerprints["mono"] == made.content_hash
        distilled = load_manifest(work / f"rounds/{index}/distilled")
        assert students.rows_in == distilled.rows_out + made.rows_out > train.rows_out
        assert teachers.rows_in <= train.rows_out and "mono" not in teachers.fingerprints
    assert "data/mono" in report["provenance"] and "rounds/1/distilled_mono" in report["provenance"]


def test_commands_show_the_valid_split(finished, capsys):
    folder, _, report = finished
    code, output = run("evaluate", f"--workdir={folder / 'work'}", "--json", capsys=capsys)
    assert code == 0
    assert json.loads(output.out)["bleu"] == report["rounds"][-1]["student"]["valid"]["bleu"]
    message = error_of(capsys, "evaluate", f"--workdir={folder / 'work'}", "--split=test")
    assert "no test split; use --split=valid" in message


def test_sources_without_translations_are_not_trained_on(finished, capsys):
    folder, _, _ = finished
    work = folder / "work"
    message = error_of(
        capsys, "train", "--role=teacher", f"--workdir={work}", f"--data={work / 'data/mono'}",
        f"--output={folder / 'no'}",
    )  # fmt: off
    assert "sources without translations; make some: emnat distill --data=" in message


def test_a_finished_model_is_tuned_on_other_text_with_its_vocabulary(finished, capsys):
    """It begins with that model's weights; a workdir with another vocabulary is refused, with the remedy."""
    folder, _, _ = finished
    first, second = folder / "work", folder / "second"
    pairs = list(generate(dataclasses.replace(WORDS, train_rows=30), "train", 2))
    (folder / "more.tsv").write_text("".join(f"{pair.source}\t{pair.target} x\n" for pair in pairs))
    keys = [f"--config.data.train_tsv={folder / 'more.tsv'}", "--config.data.mono_source=None"]
    keys += ["--config.data.valid_rows=5"]
    vocabulary = ["--config.vocab.model=bpe", "--config.vocab.size=4000", f"--config.vocab.path={first}"]
    file = folder / "config.py"
    file.write_text(
        f"import json\ndef get_config(): return json.load(open({str(first / 'config.json')!r}))\n"
    )
    given = [f"--config={file}", *keys, *vocabulary, f"--workdir={second}"]
    assert run("prepare", *given, capsys=capsys)[0] == 0
    start = [f"--start={first / 'rounds/0/teacher'}", "--role=teacher"]
    code, _ = run("train", *given, *start, "--config.teacher_train.steps=1", "--json", capsys=capsys)
    assert code == 0
    made = load_manifest(second / "models/teacher")
    assert made.fingerprints["start"] == load_manifest(first / "rounds/0/teacher").content_hash
    assert made.fingerprints["vocabulary"] == load_manifest(first / "data/train").fingerprints["vocabulary"]

    other = [f"--config={file}", *keys, f"--workdir={folder / 'third'}"]
    assert run("prepare", *other, capsys=capsys)[0] == 0
    assert "prepare a workdir with that one (vocab.path)" in error_of(capsys, "train", *other, *start)


def test_where_the_translations_of_further_sources_come_from():
    """Anew of every teacher that learned from all rows; else those of round 0 stay."""
    data = DataConfig(kind="text", train_tsv="a", mono_source="b")

    def plan(**em):
        config = dataclasses.replace(small_config(rounds=1, **em), data=data, vocab=VocabConfig())
        stages = {stage.output: stage for stage in make_plan(config)}
        made = [name for name in stages if name.endswith("distilled_mono")]
        return made, [stages[f"rounds/{index}/student"].mono for index in (0, 1)]

    zero, one = "rounds/0/distilled_mono", "rounds/1/distilled_mono"
    for student_data in ("distilled", "selected", "candidates"):
        assert plan(rows=None, student_data=student_data) == ([zero, one], [zero, one])
        assert plan(rows=8, student_data=student_data) == ([zero], [zero, zero])
    frozen = {"student_data": "selected", "update_teacher": False}
    assert plan(rows=None, **frozen) == ([zero], [zero, zero])
    with pytest.raises(UserError, match="mono_source=b is for distillation, and em.student_data=raw"):
        plan(student_data="raw")
