"""Commands with `--decoder=verified`: what they write, and what they refuse."""

import json

import numpy as np
import pytest

from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.artifacts.manifest import load_manifest
from tests.cli.commands import error_of, run


@pytest.fixture
def sources(workdir, tmp_path):
    rows = list(read_dataset(workdir / "data/test"))
    path = tmp_path / "in.txt"
    path.write_text("".join(f"{row.source_text}\n" for row in rows) + "\n")
    return path


def translated(workdir, sources, output, *options, capsys) -> tuple[str, str]:
    """The text and what was said."""
    files = (f"--input={sources}", f"--output={output}")
    code, said = run("translate", f"--workdir={workdir}", *files, *options, capsys=capsys)
    assert code == 0, said.err
    return output.read_text(), said.err


@pytest.mark.slow
def test_translations_are_the_bytes_of_greedy_search(workdir, sources, tmp_path, capsys):
    teacher = ("--role=teacher", "--round=0", "--decoder=greedy")
    expected, _ = translated(workdir, sources, tmp_path / "greedy", *teacher, capsys=capsys)
    models = workdir / "rounds/0"
    for number, asked in enumerate(
        (
            ("--round=0",),
            ("--role=teacher", "--round=0", "--draft-block=2"),
            (f"--model={models / 'teacher'}", f"--draft={models / 'student'}"),
        )
    ):
        output = tmp_path / f"verified{number}"
        found, said = translated(workdir, sources, output, "--decoder=verified", *asked, capsys=capsys)
        assert found == expected and "lossless" not in said
    relaxed = ("--round=0", "--decoder=verified", "--accept-margin=50")
    other, said = translated(workdir, sources, tmp_path / "relaxed", *relaxed, capsys=capsys)
    assert "not lossless" in said
    student, _ = translated(workdir, sources, tmp_path / "student", "--round=0", capsys=capsys)
    assert other == student != expected


@pytest.mark.parametrize(
    "command, parts",
    [
        (("translate", "--draft-block=4"), ("draft_block", "decoder=verified")),
        (("translate", "--decoder=verified", "--draft-block=0"), ("draft_block=0",)),
        (("translate", "--decoder=verified", "--n-best=3"), ("one translation", "decoder=beam")),
        (("translate", "--decoder=verified", "--rescore=teacher"), ("leave out rescore",)),
        (("translate", "--decoder=verified", "--draft=nowhere"), ("draft=nowhere", "ask for a teacher")),
        (("translate", "--decoder=verified", "--role=teacher", "--draft=nowhere"), ("nowhere",)),
        (
            ("translate", "--decoder=verified", "--model=rounds/0/teacher", "--draft=rounds/0/teacher"),
            ("student",),
        ),
        (("export", "--decoder=verified"), ("decoder=verified", "greedy")),
        (("benchmark", "latency", "--random", "--decoder=verified"), ("--decoder", "trained models")),
        (("benchmark", "latency", "--systems=teacher:decoder=verified:accept_margin=x"), ("give a number",)),
        (("benchmark", "latency", "--systems=teacher:decoder=verified:redraft=1"), ("give yes or no",)),
        (("translate", "--redraft"), ("redraft", "decoder=verified")),
        (("translate", "--decoder=verified", "--redraft"), ("family vanilla", "leave redraft out")),
        (("benchmark", "latency", "--systems=student:onnx:draft_block=2"), ("checks no drafts",)),
        (("benchmark", "latency", "--systems=student:draft_block=2"), ("decoder=verified",)),
    ],
)
def test_mistakes_end_with_one_line(workdir, sources, capsys, monkeypatch, command, parts):
    monkeypatch.chdir(workdir)
    files = (f"--input={sources}",) if command[0] == "translate" else ()
    message = error_of(capsys, *command, f"--workdir={workdir}", *files)
    assert all(part in message for part in parts), message


def test_distillation_gives_the_records_of_greedy_search(workdir, tmp_path, capsys):
    teacher = f"--model={workdir / 'rounds/0/teacher'}"
    for name, options in {"greedy": (), "verified": (f"--draft={workdir / 'rounds/0/student'}",)}.items():
        where = (f"--workdir={workdir}", teacher, f"--output={tmp_path / name}")
        assert run("distill", *where, f"--decoder={name}", *options)[0] == 0
    greedy, verified = (load_manifest(tmp_path / name) for name in ("greedy", "verified"))
    assert verified.content_hash == greedy.content_hash and verified.options == greedy.options
    pairs = zip(read_dataset(tmp_path / "greedy"), read_dataset(tmp_path / "verified"), strict=True)
    for theirs, ours in pairs:
        assert (ours.row, ours.source_text, ours.target_text) == (
            theirs.row,
            theirs.source_text,
            theirs.target_text,
        )
        np.testing.assert_array_equal(ours.targets[0], theirs.targets[0])
        assert ours.scores.keys() == theirs.scores.keys() == {"teacher_log_prob"}
        np.testing.assert_allclose(
            ours.scores["teacher_log_prob"], theirs.scores["teacher_log_prob"], rtol=1e-5
        )
    several = (f"--workdir={workdir}", teacher, f"--output={tmp_path / 'n'}", "--num-candidates=2")
    assert "one translation" in error_of(capsys, "distill", *several, "--decoder=verified")


@pytest.mark.slow
def test_a_benchmark_says_what_drafts_are_worth(workdir, capsys):
    systems = "teacher:decoder=greedy,teacher:decoder=verified,student:decoder=verified:accept_margin=2.5"
    options = ("--sentences=4", "--batch=2", f"--systems={systems}")
    code, output = run("benchmark", "latency", f"--workdir={workdir}", *options, "--json", capsys=capsys)
    assert code == 0, output.err
    greedy, verified, relaxed = json.loads(output.out)["timings"]
    assert greedy["drafting"] is None and greedy["batches"][0]["bleu"] == verified["batches"][0]["bleu"]
    assert verified["role"] == relaxed["role"] == "teacher"
    assert verified["drafting"]["lossless"] and not relaxed["drafting"]["lossless"]
    for found in (verified["drafting"], relaxed["drafting"]):
        assert found["passes"] >= 1 and found["tokens_a_pass"] >= 1
    assert relaxed["changes"] == {"decoder": "verified", "accept_margin": 2.5}
    code, output = run("benchmark", "latency", f"--workdir={workdir}", *options, capsys=capsys)
    head, *lines = output.out.splitlines()
    assert head.split()[-3:] == ["passes", "tokens/pass", "lossless"]
    assert [line.split()[-1] for line in lines[:3]] == ["-", "yes", "NO"]
