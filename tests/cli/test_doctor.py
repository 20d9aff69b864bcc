"""`emnat doctor`: what it says of the machine and of a workdir, and what it has made again."""

import shutil
from pathlib import Path

import pytest

from emnat_jax.artifacts.journal import exclusive
from emnat_jax.artifacts.manifest import load_manifest
from emnat_jax.cli import doctor
from emnat_jax.cli.main import main
from emnat_jax.config import ModelSpec
from emnat_jax.config.convert import from_dict
from emnat_jax.data.vocab import load_vocabulary
from emnat_jax.export.folder import About, finish_export
from tests.cli.commands import error_of
from tests.em.kills import emnat


def said(capsys, *arguments) -> tuple[int, list[str], str]:
    """(status, lines, message)."""
    status = main(["doctor", *map(str, arguments)])
    output = capsys.readouterr()
    assert "Traceback" not in output.err
    return status, output.out.splitlines(), output.err


@pytest.fixture
def copy(workdir, tmp_path):
    return shutil.copytree(workdir, tmp_path / "run")


def test_nothing_is_wrong_with_a_whole_workdir(workdir, capsys):
    status, lines, error = said(capsys, f"--workdir={workdir}")
    assert (status, error) == (0, "")
    places = [line.split(":")[0] for line in lines]
    assert places[:5] == ["ok machine", "ok packages", "ok devices", "ok memory", "ok disk"]
    assert {"ok vocab", "ok data/train", "ok rounds/0/teacher", "ok rounds/0/eval.json"} <= set(places)
    assert all(line.endswith(": whole") for line in lines[5:])


def test_a_machine_alone_can_be_looked_at(tmp_path, capsys):
    status, lines, _ = said(capsys, f"--workdir={tmp_path / 'none'}")
    assert status == 0 and "does not exist: nothing to check" in lines[-1]
    assert not (tmp_path / "none").exists()


def test_a_small_disk_and_memory_are_said(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "LITTLE_DISK", 1 << 60)
    monkeypatch.setattr(doctor, "LITTLE_MEMORY", 1 << 60)
    status, lines, error = said(capsys, f"--workdir={tmp_path}/a/b")
    assert status == 2 and "2 of the findings above need your attention" in error
    marked = [line for line in lines if line.startswith("!")]
    assert ["give small data.batch_tokens" in marked[0], "free some, or choose another" in marked[1]] == [
        True
    ] * 2


DAMAGES = {
    "data/train": lambda run: next((run / "data/train").glob("part-*")).write_bytes(b""),
    "data/valid": lambda run: (run / "data/valid/MANIFEST.json").write_text("{}"),
    "rounds/0/teacher": lambda run: shutil.rmtree(
        max((run / "rounds/0/teacher/checkpoints").glob("*/state"))
    ),
    "rounds/0/eval.json": lambda run: (run / "rounds/0/outputs/test.student.txt").write_text("x\n"),
    "vocab": lambda run: (run / "vocab/model").write_bytes(b"x"),
    "config.json": lambda run: (run / "config.json").write_text("[]"),
}


QUICK = ("data/train", "vocab")


@pytest.mark.parametrize(
    "place", [pytest.param(place, marks=() if place in QUICK else pytest.mark.slow) for place in DAMAGES]
)
def test_a_damage_is_found_and_marked(copy, capsys, place):
    DAMAGES[place](copy)
    status, lines, error = said(capsys, f"--workdir={copy}")
    (marked,) = [line for line in lines if line.startswith("!")]
    assert status == 2 and marked.startswith(f"! {place}: ") and "1 of the findings" in error
    assert "Marked" not in marked
    status, lines, error = said(capsys, f"--workdir={copy}", "--repair")
    assert any(line.startswith(f"! {place}: ") and line.endswith(doctor.MARKED) for line in lines)
    assert "run `emnat em`, which makes it again" in error
    left = said(capsys, f"--workdir={copy}")[1]  # to be made is neither damaged nor lost
    assert marked not in left and not any(line.startswith(f"! {place}: was finished") for line in left)


def test_what_lies_in_the_way_is_put_aside(copy, capsys):
    """A file and a broken link where folders are expected, a folder where a file is."""
    shutil.rmtree(copy / "rounds/0/student")
    (copy / "rounds/0/student").write_text("x")
    shutil.rmtree(copy / "data/valid")
    (copy / "data/valid").symlink_to("valid")
    (copy / "report/index.html").unlink()
    (copy / "report/index.html").mkdir()
    status, lines, _ = said(capsys, f"--workdir={copy}", "--repair")
    wrong = {line.split(":")[0]: line for line in lines if line.startswith("!")}
    for place, wanted in (
        ("rounds/0/student", "folder"),
        ("data/valid", "folder"),
        ("report/index.html", "file"),
    ):
        assert f"lies where a {wanted} is expected; move it away" in wrong[f"! {place}"]
        assert not (copy / place).exists() and not (copy / place).is_symlink()
    assert (copy / "rounds/0/student.other-1").read_text() == "x" and status == 2
    assert not any("lies where" in line for line in said(capsys, f"--workdir={copy}")[1])


def test_what_was_finished_and_is_lost_is_told(copy, capsys):
    shutil.rmtree(copy / "rounds/0/distilled")
    (copy / "data/test/MANIFEST.json").unlink()
    status, lines, _ = said(capsys, f"--workdir={copy}")
    marked = [line.partition(": ") for line in lines if line.startswith("!")]
    assert status == 2 and [place for place, *_ in marked] == ["! data/test", "! rounds/0/distilled"]
    assert all(text.startswith("was finished, and is lost; run `emnat em`") for *_, text in marked)


@pytest.mark.slow
def test_checkpoints_of_another_model_are_put_aside_and_the_model_is_trained_again(copy, capsys):
    mine, other = (copy / f"rounds/{index}/student/checkpoints" for index in (0, 1))
    shutil.move(mine, copy / "between")
    shutil.copytree(other, mine)
    status, lines, _ = said(capsys, f"--workdir={copy}", "--repair")
    (marked,) = [line for line in lines if line.startswith("! rounds/0/student")]
    assert status == 2 and "of another training" in marked and marked.endswith(doctor.MARKED)
    assert (mine.parent / "checkpoints.other-1").is_dir() and not mine.exists()
    log = copy.parent / "log"  # in a process with the devices that the run was made on: the same bits
    assert emnat(["em", f"--workdir={copy}"], log) == 0, log.read_text()
    assert said(capsys, f"--workdir={copy}")[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "files",
    [
        ("teacher/checkpoints/30/metadata/metadata", "teacher/checkpoints/40/metadata/metadata"),
        ("student/checkpoints/40/state/_METADATA", "teacher/checkpoints/40/state/_METADATA"),
    ],
)
def test_damaged_checkpoints_are_put_aside_and_the_model_is_trained_again(copy, capsys, files):
    """Of the two with each other's metadata no training could go on; they are kept."""
    one, other = (copy / "rounds/0" / file for file in files)
    (copy / "between").write_bytes(one.read_bytes())
    shutil.copy(other, one)
    shutil.move(copy / "between", other)
    assert said(capsys, f"--workdir={copy}", "--repair")[0] == 2
    assert all(
        (path.parents[1].with_name(f"{path.parents[1].name}.other-1")).is_dir() for path in (one, other)
    )
    log = copy.parent / "log"
    assert emnat(["em", f"--workdir={copy}"], log) == 0, log.read_text()
    assert said(capsys, f"--workdir={copy}")[0] == 0


def test_what_is_in_use_is_not_repaired(copy, capsys):
    DAMAGES["data/train"](copy)
    with exclusive(copy):
        status, _, error = said(capsys, f"--workdir={copy}", "--repair")
        assert status == 2 and "is in use by another emnat process" in error
    assert (copy / "data/train/MANIFEST.json").exists()


def test_a_damaged_journal_is_told_and_left(copy, capsys):
    with (copy / "journal.jsonl").open("ab") as file:
        file.write(b"\xff\n")
    status, lines, _ = said(capsys, f"--workdir={copy}", "--repair")
    assert status == 2 and "! journal.jsonl: " in lines[-1] and "1 lines are damaged" in lines[-1]
    assert b"\xff" in (copy / "journal.jsonl").read_bytes()


def hand_made(copy) -> dict[str, Path]:
    """What single commands may have put into a workdir: a set, a model, an exported one."""
    places = {"tried": "data/valid", "models/mine": "rounds/0/teacher"}
    for name, place in places.items():
        shutil.copytree(copy / place, copy / name)
    exported = copy / "exports/mine"
    exported.mkdir(parents=True)
    (exported / "model.onnx").write_bytes(b"weights")
    about = About("onnx", spec_of(copy / "models/mine"), (8,), ("float32",), "float32", {})
    finish_export(exported, about, load_vocabulary(copy / "vocab"), "hash", 1)
    return {name: copy / name for name in (*places, "exports/mine")}


def spec_of(model) -> ModelSpec:
    return from_dict(load_manifest(model).options["model"], ModelSpec, "model.")


@pytest.mark.slow
def test_what_single_commands_made_is_looked_at(copy, capsys):
    made = hand_made(copy)
    status, lines, error = said(capsys, f"--workdir={copy}")
    assert (status, error) == (0, "") and {f"ok {name}: whole" for name in made} <= set(lines)
    next((copy / "tried").glob("part-*")).write_bytes(b"")
    (copy / "exports/mine/other.onnx").write_bytes(b"weights")
    shutil.rmtree(copy / "models/mine/checkpoints")
    shutil.copytree(copy / "rounds/0/student/checkpoints", copy / "models/mine/checkpoints")
    status, lines, error = said(capsys, f"--workdir={copy}", "--repair")
    wrong = [line.split(":")[0] for line in lines if line.startswith("!")]
    assert status == 2 and sorted(wrong) == sorted(f"! {name}" for name in made)
    assert doctor.MARKED not in "".join(lines)  # `emnat em` makes none of them
    assert all((folder / "MANIFEST.json").exists() for folder in made.values())


@pytest.mark.slow
def test_the_runs_of_a_sweep_are_looked_at(workdir, tmp_path, capsys):
    for name in ("one", "other"):
        shutil.copytree(workdir, tmp_path / f"cells/group/{name}/1")
    DAMAGES["data/train"](tmp_path / "cells/group/other/1")
    (tmp_path / "cells/group/third").mkdir()
    (tmp_path / "cells/group/third/1").touch()
    status, lines, _ = said(capsys, f"--workdir={tmp_path}", "--repair")
    wrong = [line for line in lines if line.startswith("!")]
    assert status == 2 and "ok cells/group/one/1/data/train: whole" in lines
    assert [line.split(": ")[0] for line in wrong] == [
        "! cells/group/other/1/data/train",
        "! cells/group/third/1/",
    ]
    assert wrong[0].endswith(doctor.MARKED)
    assert not (tmp_path / "cells/group/other/1/data/train/MANIFEST.json").exists()


@pytest.mark.parametrize("command", ["em", "report", "translate", "prepare"])
def test_the_workdir_of_a_sweep_is_not_that_of_a_run(tmp_path, capsys, command):
    (tmp_path / "cells/group/one/1").mkdir(parents=True)
    assert "is the workdir of a sweep; name one of its runs" in error_of(
        capsys, command, f"--workdir={tmp_path}"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["cells"]
