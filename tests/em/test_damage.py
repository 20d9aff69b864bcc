"""Whatever lies in a workdir and is not what was made there is named, or made again; nothing uses it."""

import json
import re
import shutil

import pytest
from etils import epath

from emnat_jax.artifacts.manifest import MANIFEST_NAME, load_manifest
from emnat_jax.artifacts.saved_config import read_config
from emnat_jax.cli.main import main
from emnat_jax.em.chain import require_chain
from emnat_jax.em.driver import rebuild_report, run
from emnat_jax.em.load import load
from emnat_jax.em.plan import make_plan
from emnat_jax.em.report import _curve
from emnat_jax.em.results import read_evaluation
from emnat_jax.errors import UserError
from tests.cli.commands import error_of
from tests.data.rows import edit_manifest
from tests.em.runs import run_em, run_in_child, small_config, workspace


@pytest.fixture
def copy(finished, tmp_path):
    """A finished workdir to spoil."""
    directory = tmp_path / "run"
    shutil.copytree(finished[0], directory)
    return directory


def swap(one, other) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def steps_of(model) -> list[int]:
    return sorted(int(path.name) for path in (model / "checkpoints").iterdir() if path.name.isdigit())


def followed(directory) -> list[str]:
    """What `emnat em` says of a workdir."""
    said: list[str] = []
    work = workspace(directory)
    work.log = said.append
    run(work)
    return said


@pytest.mark.slow
def test_a_model_without_its_newest_checkpoint_is_not_used_and_trained_on(finished, copy):
    model = copy / "rounds/1/student"
    steps, before = steps_of(model), load_manifest(model).content_hash
    shutil.rmtree(model / f"checkpoints/{steps[-1]}")
    with pytest.raises(UserError, match=f"lost the checkpoint after step {steps[-1]}.*run `emnat em`"):
        load(copy)
    assert run_in_child(copy) == 0  # on one device, as the run before: the same bits
    assert load_manifest(model).content_hash == before
    assert load(copy).translate(["a b"]) == load(finished[0]).translate(["a b"])


@pytest.mark.slow
def test_a_lost_checkpoint_is_told(copy):
    shutil.rmtree(copy / "rounds/1/student/checkpoints/20")
    said = followed(copy)
    assert "rounds/1/student: the checkpoint after step 20 is lost; it is made again" in said
    assert "round 1 student: goes on after step 15" in said
    shutil.rmtree(copy / "rounds/1/student/checkpoints/15")
    edit_manifest(
        copy / "rounds/1/student", options=load_manifest(copy / "rounds/1/student").options | {"step": 15}
    )
    said = followed(copy)
    assert any(text.endswith("lost its checkpoint after step 15; trains from the beginning") for text in said)
    assert not any("goes on after step" in text for text in said)


def test_a_model_all_of_whose_checkpoints_were_deleted_is_finished_but_not_used(copy):
    """As somebody does to save space."""
    shutil.rmtree(copy / "rounds/0/student/checkpoints")
    assert "rounds/0/student: finished before" in followed(copy)
    with pytest.raises(UserError, match="has lost the checkpoint|does not exist"):
        load(copy, round=0)
    load(copy, round=1)


def test_checkpoints_of_another_round_are_refused(copy, capsys):
    swap(copy / "rounds/0/student/checkpoints", copy / "rounds/1/student/checkpoints")
    with pytest.raises(UserError, match="has lost the checkpoint|other weights than its manifest names"):
        load(copy)
    assert "holds the checkpoints of another training" in error_of(capsys, "em", f"--workdir={copy}")


def test_weights_of_another_training_under_the_same_steps_are_refused(copy, capsys):
    """The control has as many steps as the student."""
    swap(copy / "rounds/1/student/checkpoints", copy / "rounds/1/control/checkpoints")
    with pytest.raises(UserError, match="other weights than its manifest names"):
        load(copy)
    assert "holds the checkpoints of another training" in error_of(capsys, "em", f"--workdir={copy}")


def test_a_training_does_not_go_on_from_checkpoints_of_another(copy):
    model = copy / "rounds/1/student"
    for name in ("checkpoints", "metrics.jsonl"):
        shutil.rmtree(model / name) if name == "checkpoints" else (model / name).unlink()
    shutil.copytree(copy / "rounds/1/control/checkpoints", model / "checkpoints")
    (model / MANIFEST_NAME).unlink()
    with pytest.raises(UserError, match="holds the checkpoints of another training"):
        run_em(copy)


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ("rounds/0/distilled", "rounds/1/distilled", "rounds/./(distilled|student) was not made from"),
        ("rounds/0/teacher", "rounds/1/teacher", "rounds/./(distilled|teacher) was not made from"),
        ("rounds/0/student", "rounds/1/student", "rounds/./student was not made from"),
        ("rounds/1/student", "rounds/1/control", "rounds/1/student was not made from"),
        ("rounds/0/n_best", "rounds/0/candidates", "was not made from|is another"),
        ("data/valid", "data/test", "holds the records of"),
    ],
)
def test_folders_in_each_others_place_are_refused(copy, capsys, one, other, message):
    swap(copy / one, copy / other)
    for command in ("em", "report"):
        assert re.search(message, error_of(capsys, command, f"--workdir={copy}"))


def test_a_model_of_another_round_is_not_used_for_translating(copy):
    shutil.rmtree(copy / "rounds/1/student")
    shutil.copytree(copy / "rounds/0/student", copy / "rounds/1/student")
    with pytest.raises(UserError, match="rounds/1/student was not made from"):
        load(copy)


def test_a_shard_of_another_split_is_not_scored(copy, capsys):
    shard = "part-00000-of-00001.tfrecord"
    shutil.copy(copy / "data/valid" / shard, copy / "data/test" / shard)
    for command in ("evaluate", "report", "em"):
        assert "data/test" in error_of(capsys, command, f"--workdir={copy}")


def evaluation_damage(directory) -> str | None:
    """What `emnat em` finds wrong with the evaluation of round 1, and makes it again for."""
    stages = (stage for stage in make_plan(small_config()) if stage.output == "rounds/1/eval.json")
    return next(stages).damage(epath.Path(directory))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:500]),
        lambda path: path.write_bytes(b"\0" * 500),
        lambda path: path.write_text(path.read_text().replace('"bleu": ', '"bleu": 1', 1)),
        lambda path: path.write_text("[]"),
    ],
    ids=["empty", "cut", "zeroed", "a digit more", "a list"],
)
def test_a_damaged_evaluation_is_found(copy, capsys, spoil):
    assert evaluation_damage(copy) is None
    spoil(copy / "rounds/1/eval.json")
    assert "run `emnat em`, which evaluates" in error_of(capsys, "report", f"--workdir={copy}")
    assert evaluation_damage(copy).startswith(("is damaged (", "has schema version None"))


@pytest.mark.parametrize("damage", ["short", "not text", "lost"])
def test_damaged_outputs_are_found(copy, capsys, damage):
    path = copy / "rounds/1/outputs/test.student.txt"
    before = path.read_bytes()
    {
        "short": lambda: path.write_bytes(before[:20]),
        "not text": lambda: path.write_bytes(before + b"\xff\n"),
        "lost": path.unlink,
    }[damage]()
    assert "test.student.txt" in error_of(capsys, "report", f"--workdir={copy}")
    assert "test.student.txt" in evaluation_damage(copy)


@pytest.mark.slow
def test_what_an_evaluation_left_is_made_again(copy):
    before = read_evaluation(epath.Path(copy), 1)
    output = copy / "rounds/1/outputs/test.student.txt"
    lines = output.read_bytes()
    output.unlink()
    (copy / "rounds/0/eval.json").write_text("{")
    said = followed(copy)
    assert [text.split(":")[0] for text in said if text.endswith("it is made again")] == [
        "rounds/0/eval.json",
        "rounds/1/eval.json",
    ]
    assert (output.read_bytes(), read_evaluation(epath.Path(copy), 1)) == (lines, before)


def test_an_evaluation_of_another_model_is_made_again(copy, capsys):
    found = json.loads((copy / "rounds/1/eval.json").read_text())
    assert set(found["made_from"]) == {"teacher", "student", "teacher0", "control", "data", "valid", "test"}
    student = copy / "rounds/1/student"
    edit_manifest(student, content_hash="0" * 64)
    assert "is of another student" in error_of(capsys, "report", f"--workdir={copy}")


@pytest.mark.parametrize("text", [b"\xff", b'{"step": 10', b'{"step": "x", "loss": 1}\n', b"[" * 9_999])
def test_damaged_curves_are_left_out(copy, text):
    path = copy / "rounds/1/student/metrics.jsonl"
    path.write_bytes(path.read_bytes() + text)
    said: list[str] = []
    work = workspace(copy)
    work.log = said.append
    report = rebuild_report(work)
    assert [text for text in said if "metrics.jsonl is damaged" in text]
    assert {curve.round: len(curve.loss) for curve in report.curves if curve.role == "student"}[1] == 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1])),
        lambda path: path.write_text(re.sub(r'"loss": (\d)', r'"loss": 9\1', path.read_text(), count=1)),
    ],
    ids=["lost", "cut", "a digit more"],
)
def test_curves_that_the_training_did_not_write_are_left_out(copy, spoil):
    path, said = copy / "rounds/1/student/metrics.jsonl", []
    work = workspace(copy)
    work.log = said.append
    before = path.read_bytes()
    assert len(_curve(work, 1, "student").loss) == 2 and not said
    spoil(path)
    assert not path.exists() or path.read_bytes() != before
    assert _curve(work, 1, "student").loss == () and "the report leaves its curves out" in said[0]


@pytest.mark.slow
def test_damaged_curves_do_not_stop_a_training_that_is_done(copy):
    """Killed before its manifest was written, and then damaged."""
    student = copy / "rounds/1/student"
    (student / "MANIFEST.json").unlink()
    (student / "metrics.jsonl").write_bytes(b"[" * 9_999)
    run_em(copy)
    assert load_manifest(student).options["step"] > 0


def test_the_report_says_which_set_is_lost(copy):
    shutil.rmtree(copy / "rounds/0/n_best")
    work, said = workspace(copy), []
    work.log = said.append
    assert "rounds/0/n_best" not in rebuild_report(work).provenance
    assert [text for text in said if "rounds/0/n_best was finished, and is lost" in text]


def test_an_older_round_does_not_take_the_place_of_one_that_is_lost(copy):
    shutil.rmtree(copy / "rounds/1/student")
    with pytest.raises(UserError, match="rounds/1/student was finished.*or name the round .--round=0"):
        load(copy)
    load(copy, round=0)
    with (copy / "journal.jsonl").open("a") as file:  # `emnat em` makes it again
        file.write('{"event": "start", "stage": "rounds/1/student"}\n')
    load(copy)


@pytest.mark.parametrize(
    "text", [b"\xff\n", b"null\n", b"[" * 9_999, b'{"event": 3}\n', b'{"event": "end", "stage": []}\n']
)
def test_a_damaged_journal_stops_nothing(copy, text):
    with (copy / "journal.jsonl").open("ab") as file:
        file.write(text)
    run_em(copy)


def test_a_changed_configuration_is_found(copy, capsys):
    path = copy / "config.json"
    before = path.read_text()
    path.write_text(before.replace('"candidates": 2', '"candidates": 3'))
    message = error_of(capsys, "em", f"--workdir={copy}")
    assert "journal.jsonl knows no such configuration" in message and "delete it" in message
    path.unlink()
    run_em(copy)
    assert path.read_text() == before


def test_a_damaged_copy_of_the_configuration_is_not_believed(copy):
    path = copy / "journal.jsonl"
    wrong = path.read_text().replace('"candidates": 2', '"candidates": 3')
    assert wrong != path.read_text()
    path.write_text(wrong)
    assert read_config(copy).em.candidates == 2
    (copy / "config.json").unlink()
    with pytest.raises(UserError, match=r"config.json is lost, and journal.jsonl has no whole copy"):
        run_em(copy)


def test_what_belongs_together_is_accepted(finished):
    require_chain(workspace(finished[0]))
    assert main(["report", f"--workdir={finished[0]}"]) == 0
