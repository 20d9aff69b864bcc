"""Options that would have no effect are refused, and mistyped ones are named; all before any work."""

import pytest

from emnat_jax.errors import UserError
from tests.cli.commands import error_of

FILES = ("--hypotheses=x", "--references=y")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("translate", "--model=m", "--role=teacher"), ("--role=teacher", "--model names the model")),
        (("translate", "--model=m", "--round=1"), ("--round=1", "--model names the model")),
        (
            ("translate", "--model=m", "--rescore=teacher", "--role=student"),
            ("--role=student", "--model names the model"),
        ),
        (("translate", "--config.teacher.ar.beam=8"), ("teacher.ar.beam=8", "--decoder")),
        (("evaluate", "--config.student.ctc.beam=8"), ("student.ctc.beam=8", "--decoder")),
        (("score", "--model=m", "--source=a", "--target=b", "--config.student.dropout=0.1"), ("dropout",)),
        (("distill", "--model=m", "--output=o", "--config.teacher.ar.beam=8"), ("teacher.ar.beam=8",)),
        (("export", "--config.student.ctc.decoder=beam"), ("student.ctc.decoder=beam",)),
        (("export", "--model=m", "--role=teacher"), ("--role=teacher",)),
        (("benchmark", "latency", "--config.teacher.ar.beam=8"), ("teacher.ar.beam=8",)),
        (("evaluate", *FILES, "--role=teacher"), ("--role", "--hypotheses")),
        (("evaluate", *FILES, "--decoder=beam"), ("--decoder", "--hypotheses")),
        (("evaluate", *FILES, "--split=valid"), ("--split", "--hypotheses")),
        (("evaluate", "--multi-references=x", "--split=valid"), ("--split", "--multi-references")),
        (("evaluate", "--hypotheses=-", "--references=-"), ("standard input", "once")),
        (("score", "--model=m", "--data=d", "--output=o", "--source=a"), ("--source", "or --data")),
        (("score", "--model=m", "--source=a", "--target=b", "--column=c"), ("--column", "--data")),
        (("train", "--role=teacher", "--targets=2"), ("--targets", "--role=student")),
        (("train", "--role=teacher", "--teacher=t"), ("--teacher", "--role=student")),
        (("em", "--plan", "--json"), ("--json", "--plan")),
        (("sweep", "--plan", "--report", "--over=raw"), ("--report, --over", "--plan")),
        (("benchmark", "throughput", "--batch=8"), ("--batch is of latency",)),
        (("benchmark", "latency", "--passes=3"), ("--passes is of throughput",)),
        (("benchmark", "latency", "--num-candidates=3"), ("--num-candidates is of distill",)),
        (("benchmark", "distill", "--rows=8"), ("--rows is of train",)),
        (("benchmark", "train", "--sentences=8"), ("--sentences is of latency",)),
        (("benchmark", "latency", "--size=tiny"), ("--size", "--random")),
        (("benchmark", "latency", "--vocab=99"), ("--vocab", "--random")),
        (("benchmark", "train", "--decoder=beam"), ("--decoder", "leave it out")),
        (("benchmark", "train", "--size=tiny"), ("--size", "leave it out")),
        (("benchmark", "latency", "--model=m", "--role=teacher"), ("--role=teacher",)),
    ],
)
def test_an_option_without_effect_is_refused(tmp_path, capsys, arguments, parts):
    message = error_of(capsys, *arguments, f"--workdir={tmp_path / 'new'}")
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("translate", "--nbest=3"), "unknown argument --nbest=3, did you mean --n-best;"),
        (("translate", "text.de"), "unknown argument text.de;"),
        (("translate", "--n-best=x"), "argument --n-best: invalid int value: 'x';"),
        (
            ("evaluate", "--hypotheses=", "--references=x"),
            "argument --hypotheses: no value; give one, or leave it out;",
        ),
        (("distill", "--model=", "--output=x"), "argument --model: no value; give one, or leave it out;"),
        (("report", "--workdir", ""), "argument --workdir: no value; give one, or leave it out;"),
        (
            ("translate", "--n-best=9999999999"),
            "argument --n-best: the number is too large; use one below 2^31;",
        ),
        (("train",), "the following arguments are required: --role;"),
    ],
)
def test_a_mistyped_option_is_one_line(capsys, arguments, said):
    with pytest.raises(SystemExit) as ended:
        error_of(capsys, *arguments)
    command = f"emnat {arguments[0]}"
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"{command}: {said} `{command} --help` lists the options.\n"


def test_the_home_folder_has_its_sign(tmp_path, capsys, monkeypatch):
    """Most shells leave it to the program where it follows a =."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert f"{tmp_path}/run holds no run" in error_of(capsys, "report", "--workdir=~/run")
    assert f"{tmp_path}/x.py: no such file" in error_of(capsys, "report", "--config=~/x.py")


def test_a_round_that_is_not_there_is_named_with_those_that_are(workdir, capsys):
    for round in ("7", "-1"):
        message = error_of(capsys, "translate", f"--workdir={workdir}", f"--round={round}")
        assert f"round {round}:" in message and "rounds that have one: 0, 1." in message


def test_a_folder_as_text_is_called_one(workdir, tmp_path, capsys):
    message = error_of(capsys, "translate", f"--workdir={workdir}", f"--input={tmp_path}")
    assert f"{tmp_path}: a folder; name a file" in message


def test_a_report_is_of_the_options_that_the_run_had(workdir, capsys):
    before = (workdir / "report/report.json").read_bytes()
    message = error_of(capsys, "report", f"--workdir={workdir}", "--config.seed=77")
    assert "the run had other options; different: seed" in message
    assert (workdir / "report/report.json").read_bytes() == before


def test_a_model_that_is_named_by_its_folder_is_exported_as_what_it_is(workdir, monkeypatch, capsys):
    folders = []

    def made(work, model, output, *given, **more):
        folders.append(output)
        raise UserError("enough")

    monkeypatch.setattr("emnat_jax.em.export.make_export", made)
    for role in ("teacher", "student"):
        assert "enough" in error_of(
            capsys, "export", f"--workdir={workdir}", f"--model={workdir / 'rounds/0' / role}"
        )
    assert folders == [workdir / "exports" / role for role in ("teacher", "student")]
