"""Every kind of mistake ends with one line and exit status 2."""

import gzip
import json
import os
import subprocess
import sys

import pytest

from emnat_jax.cli.main import main
from emnat_jax.cli.workspace import require_platform
from emnat_jax.config.convert import to_dict
from emnat_jax.errors import UserError
from tests.cli.commands import error_of
from tests.em.runs import small_config


def test_an_object_store_without_its_client_names_it(capsys):
    assert "s3fs" in error_of(capsys, "em", "--workdir=s3://bucket/run")


URL = "https://example.org/x"


@pytest.mark.parametrize(
    "words",
    [
        ("translate", f"--workdir={URL}"),
        ("translate", f"--input={URL}"),
        ("translate", f"--model={URL}"),
        ("evaluate", f"--hypotheses={URL}", "--references=x"),
    ],
)
def test_an_address_of_the_web_is_no_store(capsys, words):
    with pytest.raises(SystemExit) as ended:
        error_of(capsys, *words)
    assert ended.value.code == 2
    assert f"{URL}: nothing is read from or written to https://" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["data.train_source", "vocab.path"])
def test_an_address_of_the_web_in_the_configuration_is_no_store(tmp_path, capsys, key):
    words = ["--config.data.kind=text", f"--config.{key}={URL}", "--config.data.train_target=x"]
    if key == "vocab.path":
        words = [f"--config.{key}={URL}", "--config.data.train_rows=9"]
    assert URL in error_of(capsys, "prepare", f"--workdir={tmp_path / 'w'}", *words)


def test_a_file_is_no_workdir(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for command in ("translate", "report", "em"):
        said = error_of(capsys, command, f"--workdir={tmp_path / 'file'}")
        assert "file: a file, where a folder is expected" in said
    assert main(["doctor", f"--workdir={tmp_path / 'file'}"]) == 2
    assert "file: a file, where a folder is expected" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, parts",
    [
        (("em", "--config.em.ronds=2"), ("em.ronds", "em.rounds")),
        (("em", "--config.em.rounds=two"), ("em.rounds", "two")),
        (("em", "--config.seed=-1"), ("seed=-1", "0 or more")),
        (("em", "--config.data.kind=texts"), ("data.kind", "text")),
        (("em", "--config.student.family=nat"), ("family", "vanilla")),
        (("em", "--config=nowhere.py"), ("nowhere.py",)),
        (("em", "--config=tests"), ("tests: a folder",)),
        (("em", "--config="), ("--config=FILE.py",)),
        (("em", "--config.data.buckets=8"), ("data.buckets=8", "(8,)")),
        (("prepare", "--config.data.kind=text"), ("data.t", "_source")),
        (("translate", "--role=teacher"), ("no finished teacher in rounds/", "emnat em", "--model=DIR")),
        (
            (
                "em",
                "--config.teacher.attention=cudnn",
                "--config.teacher.dtype=bfloat16",
                "--config.teacher.attention_dropout=0.0",
            ),
            ("attention=cudnn", "use xla"),
        ),
        (("em", "--config.mesh.data=3"), ("mesh.data=3", "4 devices")),
        (("train", "--role=teacher"), ("emnat prepare",)),
        (("train", "--role=student", "--targets=0"), ("--targets=0",)),
        (
            ("train", "--role=teacher", "--objective=ngram"),
            ("teacher_train.objective=ngram", "ctc and dag"),
        ),
        (("report",), ("holds no run", "emnat em")),
        (("compile", "--topology=v5e:2x4", "--slices=0"), ("--slices=0",)),
        (("compile", "--topology=v5e:2x4", "--pairs=0"), ("--pairs=0", "1 or more")),
        (("evaluate", "--hypotheses=x"), ("--references",)),
    ],
)
def test_mistakes_end_with_one_line(tmp_path, capsys, arguments, parts):
    message = error_of(capsys, *arguments, f"--workdir={tmp_path / 'new'}")
    assert all(part in message for part in parts), message


def test_a_mistake_in_a_config_file_is_named_by_file_and_line(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(
        "from emnat_jax.config.convert import to_config_dict\n\n"
        "def get_config():\n    c = to_config_dict()\n    c.em.ronds = 3\n    return c\n"
    )
    message = error_of(capsys, "em", f"--config={path}", f"--workdir={tmp_path / 'w'}")
    assert "mine.py:5" in message and "ronds" in message


@pytest.mark.parametrize("given", ["None", "[1]", "{3: 4}", "10**5_000"])
def test_a_config_file_that_gives_something_else_is_refused(tmp_path, capsys, given):
    """Most often nothing: a `return` was forgotten."""
    path = tmp_path / "mine.py"
    path.write_text(f"def get_config():\n    return {given}\n")
    message = error_of(capsys, "em", f"--config={path}", f"--workdir={tmp_path / 'w'}")
    assert "mine.py: get_config() is to give a ConfigDict" in message


def test_unequal_text_files_are_refused(tmp_path, capsys):
    (tmp_path / "a.de").write_text("eins\nzwei\ndrei\n")
    with gzip.open(tmp_path / "a.en.gz", "wt") as file:
        file.write("one\ntwo\n")
    files = [
        f"--config.data.{split}_{side}={tmp_path / name}"
        for split in ("train", "valid", "test")
        for side, name in (("source", "a.de"), ("target", "a.en.gz"))
    ]
    message = error_of(capsys, "prepare", "--config.data.kind=text", *files, f"--workdir={tmp_path / 'w'}")
    assert "3 lines" in message and "2" in message


def test_a_workdir_keeps_its_configuration(workdir, capsys):
    assert json.loads((workdir / "config.json").read_text()) == json.loads(
        json.dumps(to_dict(small_config()))
    )
    message = error_of(capsys, "em", f"--workdir={workdir}", "--config.seed=7")
    assert "seed" in message


def test_unknown_command(capsys):
    assert "unknown command" in error_of(capsys, "trane")


@pytest.mark.parametrize(
    ("asked", "found", "message"),
    [
        ("", "cpu", None),
        ("cpu", "cpu", None),
        ("cuda,cpu", "gpu", None),
        ("tpu,cpu", "tpu", None),
        ("tpu,cpu", "cpu", "asks for tpu, but computations would run on cpu"),
        ("cuda", "cpu", "asks for cuda"),
    ],
)
def test_a_platform_that_was_asked_for_and_is_absent_is_refused(asked, found, message):
    if message is None:
        require_platform(asked, found)
    else:
        with pytest.raises(UserError, match=message):
            require_platform(asked, found)


@pytest.mark.parametrize("platform", ["cuda", "tpu,cpu"])
def test_an_absent_platform_ends_with_status_2(workdir, platform):
    done = subprocess.run(
        [sys.executable, "-m", "emnat_jax", "translate", f"--workdir={workdir}"],
        env=os.environ | {"JAX_PLATFORMS": platform},
        capture_output=True,
        text=True,
        input="",
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr and "JAX_PLATFORMS" in done.stderr
