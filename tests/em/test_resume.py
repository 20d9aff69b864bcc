"""What may change when a run goes on, and what is refused by name."""

import json
import shutil

import pytest

from emnat_jax.artifacts.journal import read_journal
from emnat_jax.artifacts.saved_config import note_config, write_config
from emnat_jax.config.convert import assign, from_dict, to_dict
from emnat_jax.em.chain import require_chain
from emnat_jax.em.doctor import examine
from emnat_jax.em.load import load
from emnat_jax.em.resume import describe, keep_config
from emnat_jax.em.stop import stop_reason
from emnat_jax.errors import UserError
from tests.cli.commands import error_of, run
from tests.em.runs import run_em, small_config, workspace


def changed(**keys):
    values = to_dict(small_config())
    for key, value in keys.items():
        assign(values, key.replace("__", "."), value)
    return from_dict(values)


FREE = {
    "data__decode_rows": 32,
    "data__root": "/elsewhere",
    "evaluation__samples": 1,
    "mesh__data": 4,
    "student_train__checkpoint_every": 4,
    "teacher_train__eval_every": 8,
    "teacher_train__log_every": 7,
}


@pytest.fixture
def copy(finished, tmp_path):
    """A finished workdir to change."""
    directory = tmp_path / "run"
    shutil.copytree(finished[0], directory)
    return directory


@pytest.mark.slow
def test_a_finished_run_goes_on_with_more_rounds_and_other_settings(finished, copy):
    config = changed(em__rounds=2, **FREE)
    report = run_em(copy, config)
    assert [item["round"] for item in report["rounds"]] == [0, 1, 2]
    before = finished[1]["rounds"]
    assert [item["student"] for item in report["rounds"][:2]] == [item["student"] for item in before]
    assert json.loads((copy / "config.json").read_text()) == json.loads(json.dumps(to_dict(config)))
    first, noted = (line for line in read_journal(copy) if line["event"] == "configuration")
    assert first["changed"] == [] and noted["config"] == json.loads((copy / "config.json").read_text())
    assert noted["changed"] == sorted(key.replace("__", ".") for key in [*FREE, "em__rounds"])
    ends = [line["stage"] for line in read_journal(copy) if line["event"] == "end"]
    assert len(ends) == len({*ends} - {"data"}) + 2  # only the data are looked at twice


@pytest.mark.parametrize(
    ("keys", "named", "stage"),
    [
        ({"seed": 9}, "seed", "data"),
        ({"data__modes__words": 9}, "data.modes.words", "data"),
        ({"teacher__dropout": 0.3}, "teacher.dropout", "rounds/0/teacher"),
        ({"teacher_train__optim__peak_lr": 1e-4}, "teacher_train.optim.peak_lr", "rounds/0/teacher"),
        ({"data__batch_tokens": 128}, "data.batch_tokens", "rounds/0/teacher"),
        ({"student_train__patience": 1}, "student_train.patience", "rounds/0/student"),
        ({"evaluation__ncm_rows": 8}, "evaluation.ncm_rows", "rounds/0/eval.json"),
        ({"evaluation__tokenizer": "char"}, "evaluation.tokenizer", "rounds/0/eval.json"),
        ({"evaluation__lowercase": True}, "evaluation.lowercase", "rounds/0/eval.json"),
        ({"data__test_multi": "refs.tsv"}, "data.test_multi", "rounds/0/eval.json"),
        ({"em__candidates": 3}, "em.candidates", "rounds/0/n_best"),
        ({"select__alpha": 0.5}, "select.alpha", "rounds/0/selected"),
        ({"em__later_lr_ratio": 0.1}, "em.later_lr_ratio", "rounds/1/teacher"),
        ({"em__rounds": 0}, "em.rounds", "rounds/0/n_best"),
        ({"select__alpha": 0.5, "seed": 9}, "seed, select.alpha", "data"),
    ],
)
def test_what_a_finished_stage_was_made_with_is_refused_by_name(finished, keys, named, stage):
    """The keys that touch nothing are not in the way, and not named."""
    directory = finished[0]
    before = (directory / "config.json").read_text()
    message = rf"different: {named}: {stage} is finished and would not be the same"
    with pytest.raises(UserError, match=message):
        keep_config(workspace(directory, changed(**{**keys, "data__decode_rows": 32})))
    assert (directory / "config.json").read_text() == before
    lines = describe(directory, changed(**keys)).splitlines()
    others = [line.split()[2] for line in lines if line.startswith("other")]
    assert others[:1] == (
        [] if keys == {"em__rounds": 0} else [stage]
    )  # without round 1 there is no such stage
    assert lines[-2] == f"would be refused: {named}: {stage} is finished and would not be the same."


def test_the_plan_tells_what_would_be_refused(copy, capsys):
    code, output = run("em", f"--workdir={copy}", "--plan", "--config.select.alpha=0.5", capsys=capsys)
    marks = {line.split()[0] for line in output.out.splitlines()}
    assert code == 0 and marks == {"done", "other", "would", "delete"}
    assert "would be refused: select.alpha: rounds/0/selected" in output.out
    assert "select.alpha: rounds/0/selected" in error_of(
        capsys, "em", f"--workdir={copy}", "--config.select.alpha=0.5"
    )
    code, output = run("em", f"--workdir={copy}", "--plan", "--config.em.rounds=2", capsys=capsys)
    lines = output.out.splitlines()
    assert code == 0 and "refused" not in output.out
    assert {line[:5] for line in lines} == {"done ", "to do"}
    assert lines[-1].split()[:5] == ["to", "do", "evaluate", "rounds/2/eval.json", "<-"]


def test_a_stage_that_was_not_reached_may_change(copy):
    shutil.rmtree(copy / "rounds/1")
    keep_config(workspace(copy, changed(em__later_lr_ratio=0.1)))
    assert json.loads((copy / "config.json").read_text())["em"]["later_lr_ratio"] == 0.1
    with pytest.raises(UserError, match=r"select\.alpha: rounds/0/selected"):
        keep_config(workspace(copy, changed(em__later_lr_ratio=0.1, select__alpha=0.5)))


def test_a_new_stop_rule_does_not_undo_a_round(finished, copy):
    config = changed(em__stop_max_drift=-10.0)
    assert stop_reason(workspace(copy, config), 0) is not None
    report = run_em(copy, config)
    assert report["stopped"] is None and len(report["rounds"]) == len(finished[1]["rounds"])


def test_an_option_that_came_later_has_its_default(finished, tmp_path):
    """A run that was begun before the option was there goes on."""
    values = json.loads((finished[0] / "config.json").read_text())
    del values["em"]["control"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    keep_config(workspace(tmp_path))
    assert (tmp_path / "config.json").read_text() == json.dumps(values)


@pytest.mark.slow
def test_the_configuration_and_the_journal_of_a_run_of_another_seed_are_found(copy):
    other = changed(seed=7)
    (copy / "journal.jsonl").unlink()
    write_config(copy, other)
    note_config(copy, other, [])
    require_chain(workspace(copy))
    with pytest.raises(
        UserError, match=r"rounds/0/teacher was not trained with seed=7.*restore config\.json and"
    ):
        require_chain(workspace(copy, other))
    wrong = [finding.place for finding in examine(workspace(copy, other)) if finding.problem]
    assert {"rounds/0/teacher", "rounds/1/student", "rounds/1/control"} <= {*wrong}


@pytest.mark.parametrize("sign", ["option", "folder"])
def test_a_workdir_of_an_earlier_version_is_refused_everywhere(finished, copy, capsys, sign):
    if sign == "option":
        values = json.loads((copy / "config.json").read_text())
        values["em"]["nar_data"] = values["em"].pop("student_data")
        (copy / "config.json").write_text(json.dumps(values))
    else:
        (copy / "rounds/0/teacher").rename(copy / "rounds/0/ar")
    says = "was made by an earlier emnat_jax, in which teacher and student were called ar and nar"
    for command in (["em"], ["em", "--plan"], ["translate"], ["report"], ["evaluate"]):
        assert says in error_of(capsys, *command, f"--workdir={copy}")
    with pytest.raises(UserError, match=says):
        load(copy)
    with pytest.raises(UserError, match=says):
        run_em(copy)
