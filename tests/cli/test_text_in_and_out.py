"""`translate` and `score` on texts of all kinds: long lines, odd lines, pipes, kills, readers that leave."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.cli.commands import error_of, run
from tests.conftest import QUICK

ENVIRONMENT = os.environ | {"XLA_FLAGS": QUICK}


def emnat(*words, **options) -> subprocess.Popen:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([sys.executable, "-m", "emnat_jax", *words], env=ENVIRONMENT, **pipes)


@pytest.fixture(scope="module")
def sentence(workdir):
    """A source of the task, of a few words."""
    return json.loads((workdir / "rounds/0/eval.json").read_text())["samples"][0]["source"]


@pytest.fixture
def translate(workdir, tmp_path, capsys):
    """A function: text and options -> (lines, what stderr says)."""

    def call(text: str | bytes, *options: str):
        (tmp_path / "in").write_bytes(text if isinstance(text, bytes) else text.encode())
        files = (f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}")
        code, output = run("translate", f"--workdir={workdir}", *files, *options, capsys=capsys)
        assert code == 0, output.err
        return (tmp_path / "out").read_text().split("\n")[:-1], output.err

    return call


def test_long_lines_are_translated_whole_and_counted(translate, sentence):
    """The limit is 8 tokens: three sentences are one part each."""
    text = f"{sentence}! {sentence.split()[0]}! {sentence}!"
    lines, told = translate(f"{sentence}\n{text}\n{text} {sentence.split()[1]}\n")
    parts, quiet = translate(f"{sentence}!\n{sentence.split()[0]}!\n{sentence.split()[1]}\n")
    assert quiet == ""
    assert lines[1] == " ".join([parts[0], parts[1], parts[0]])
    assert lines[2] == f"{lines[1]} {parts[2]}"
    assert told.count("\n") == 1 and "2 of the lines" in told and "(lines 2, 3)" in told and "parts" in told


def test_long_lines_may_be_cut_and_are_named(translate, sentence):
    text = " ".join([sentence] * 6)
    lines, told = translate(f"{text}\n{sentence}\n{text} x\n" * 3, "--long-lines=cut")
    assert lines[0] == lines[2] and len(lines) == 9
    assert told.count("\n") == 1 and "6 of the lines" in told and "(lines 1, 3, 4, 6, 7, ...)" in told
    assert "--long-lines=split" in told


def test_long_lines_may_be_refused(workdir, tmp_path, capsys, sentence):
    (tmp_path / "in").write_text(f"{sentence}\n{' '.join([sentence] * 6)}\n")
    files = (f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}", "--long-lines=error")
    message = error_of(capsys, "translate", f"--workdir={workdir}", *files)
    assert "line 2: " in message and "--long-lines=split" in message
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_line_that_shows_nothing_is_empty(translate, sentence):
    odd = ["", "  ", "\u00a0", "\u200b", "\ufeff\u2060", "\u200e\u00ad", "\t"]
    lines, _ = translate("".join(f"{line}\n" for line in [sentence, *odd, sentence]))
    assert lines == [lines[0], *[""] * len(odd), lines[0]] and lines[0]


@pytest.mark.slow
def test_the_same_bytes_give_the_same_from_a_pipe_and_standard_input(workdir, sentence):
    data = gzip.compress(f"\ufeff{sentence}\n".encode())
    command = ("translate", f"--workdir={workdir}")
    plain = emnat(*command).communicate(f"{sentence}\n".encode())[0]
    assert plain.strip()
    assert emnat(*command).communicate(data)[0] == plain
    assert emnat(*command, "--input=/dev/stdin").communicate(data)[0] == plain


@pytest.mark.slow
def test_n_best_and_scores_are_one_format(translate, workdir, tmp_path, capsys, sentence):
    for role in ("teacher", "student"):
        best, _ = translate(f"{sentence}\n\n{sentence}\n", f"--role={role}")
        lists, _ = translate(f"{sentence}\n\n{sentence}\n", f"--role={role}", "--n-best=3")
        scored, _ = translate(f"{sentence}\n\n{sentence}\n", f"--role={role}", "--scores")
        first, _ = translate(f"{sentence}\n\n{sentence}\n", f"--role={role}", "--n-best=1")
        rows = [line.split("\t", 3) for line in lists]
        assert [row[:2] for row in rows if row[0] == "2"] == [["2", "1"]] and ["2", "1", "nan", ""] in rows
        assert [row[3] for row in rows if row[1] == "1"] == best
        assert [line.split("\t")[0] for line in scored] == ["1", "2", "3"]
        assert scored == first
        own = [row for row in rows if row[0] == "1"]
        assert 2 <= len(own) <= 3 and len({row[3] for row in own}) == len(own)
        (tmp_path / "s").write_text(f"{sentence}\n" * len(own))
        (tmp_path / "t").write_text("".join(f"{row[3]}\n" for row in own))
        files = (f"--source={tmp_path / 's'}", f"--target={tmp_path / 't'}")
        model = f"--model={workdir / ('rounds/0/teacher' if role == 'teacher' else 'rounds/1/student')}"
        if role == "teacher":
            model = f"--model={workdir / 'rounds/1/teacher'}"
        _, output = run("score", f"--workdir={workdir}", model, *files, capsys=capsys)
        expected = [float(line) for line in output.out.split()]
        assert [float(row[2]) for row in own] == pytest.approx(expected, abs=1e-3)


def test_the_n_best_of_a_line_in_parts(translate, sentence):
    short = sentence.split()[0]
    rows = [line.split("\t") for line in translate(f"{sentence}! {short}! {sentence}!\n", "--n-best=4")[0]]
    parts = [line.split("\t") for line in translate(f"{sentence}!\n{short}!\n{sentence}!\n", "--n-best=4")[0]]
    first = [row for row in parts if row[1] == "1"]
    assert rows[0][3] == " ".join(row[3] for row in first)
    assert float(rows[0][2]) == pytest.approx(sum(float(row[2]) for row in first), abs=1e-4)
    assert [row[1] for row in rows] == [str(rank) for rank in range(1, len(rows) + 1)] and len(rows) == 4


@pytest.fixture
def score(workdir, tmp_path, capsys):
    def call(sources: str, targets: str):
        (tmp_path / "s").write_text(sources)
        (tmp_path / "t").write_text(targets)
        files = (f"--source={tmp_path / 's'}", f"--target={tmp_path / 't'}")
        model = f"--model={workdir / 'rounds/0/student'}"
        code, output = run("score", f"--workdir={workdir}", model, *files, capsys=capsys)
        return code, output.out.split(), output.err

    return call


def test_one_long_pair_does_not_stop_the_others(score, sentence):
    long = " ".join([sentence] * 6)
    alone = score(f"{sentence}\n", "a1\n")[1]
    code, values, told = score(f"{sentence}\n{long}\n{sentence}\n\u200b\n", f"a1\na1\n{long}\n\n")
    assert code == 0 and values[0] == alone[0] and values[1:3] == ["-inf", "-inf"]
    assert float(values[0]) > -1e6 and float(values[3]) > -1e6
    assert told.count("\n") == 1 and "2 of the pairs" in told and "(lines 2, 3)" in told
    assert score(f"{sentence}\n", "a1\n")[2] == ""


def test_pairs_from_pipes_are_counted(workdir, tmp_path, sentence):
    """Unequal numbers of lines are found at the end of the shorter one."""
    (tmp_path / "t").write_text("a1\n")
    files = ("--source=-", f"--target={tmp_path / 't'}")
    command = ("score", f"--workdir={workdir}", f"--model={workdir / 'rounds/0/student'}", *files)
    process = emnat(*command)
    out, err = process.communicate(f"{sentence}\n{sentence}\n".encode())
    assert process.returncode == 2 and b"- has 2 lines" in err and len(out.split()) == 1


def test_each_line_comes_when_it_is_there(workdir, sentence):
    """The next line is written only when the translation of the one before has been read."""
    process = emnat("translate", f"--workdir={workdir}", stderr=subprocess.DEVNULL)
    found = []
    for line in (sentence, "", sentence):
        process.stdin.write(f"{line}\n".encode())
        process.stdin.flush()
        found.append(process.stdout.readline())
    process.stdin.close()
    assert process.wait(60) == 0 and process.stdout.read() == b""
    assert found[0] == found[2] != b"\n" == found[1]


def test_a_reader_that_leaves_ends_it_quietly(workdir, sentence):
    """Also while more input could come: nobody closes standard input here."""
    process = emnat("translate", f"--workdir={workdir}")
    process.stdin.write(f"{sentence}\n".encode())
    process.stdin.flush()
    assert process.stdout.readline()
    process.stdout.close()
    process.stdin.write(f"{sentence}\n".encode())
    process.stdin.flush()
    assert process.wait(60) == 141 and b"Traceback" not in process.stderr.read()
    process.stdin.close()


def test_evaluate_says_which_sources_it_cuts(workdir, tmp_path, capsys, sentence):
    long = " ".join([sentence] * 6)
    (tmp_path / "refs.tsv").write_text(f"{sentence}\ta1 a2\n{long}\ta1 a2\n")
    command = ("evaluate", f"--workdir={workdir}", f"--multi-references={tmp_path / 'refs.tsv'}")
    code, output = run(*command, capsys=capsys)
    assert code == 0 and "1 of the sources" in output.err and "were cut (line 2)" in output.err


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [("--help",), ("--version",), ("translate", "--help"), ()], ids=str)
def test_output_into_a_closed_pipe(words, unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "emnat_jax", *words],
        env=ENVIRONMENT | {"PYTHONUNBUFFERED": unbuffered},
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert done.stderr == b"" and done.returncode in (
        0,
        141,
    )  # argparse itself hears of no unbuffered failure


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_killed_translation_goes_on(workdir, tmp_path, sentence, ending):
    words = sentence.split()
    source = [f"{words[i % len(words)]} {words[i // 7 % len(words)]}" for i in range(4_000)]
    source[5] = source[3_900] = " ".join([sentence] * 5)
    (tmp_path / "in").write_text("".join(f"{line}\n" for line in source))
    command = ("translate", f"--workdir={workdir}", f"--input={tmp_path / 'in'}")
    whole = emnat(*command, f"--output={tmp_path / 'whole'}{ending}")
    told = whole.communicate()[1]
    assert whole.returncode == 0
    process = emnat(*command, f"--output={tmp_path / 'out'}{ending}", stderr=subprocess.DEVNULL)
    record = tmp_path / f".out{ending}.part.log"
    while not record.exists() or record.read_bytes().count(b"\n") < 3:
        time.sleep(0.02)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / f"out{ending}").exists()
    again = emnat(*command, f"--output={tmp_path / 'out'}{ending}")
    said = again.communicate()[1]
    assert again.returncode == 0 and b"goes on after line" in said
    assert (tmp_path / f"out{ending}").read_bytes() == (tmp_path / f"whole{ending}").read_bytes()
    assert told.splitlines()[-1] == said.splitlines()[-1] and b"(lines 6, 3901)" in told
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.slow
def test_another_input_starts_where_it_differs(workdir, tmp_path, sentence):
    """An unfinished output of other lines is used as far as they are the same."""
    (tmp_path / "in").write_bytes((f"{sentence}\n" * 1_024).encode() + b"\xff\n")
    command = ("translate", f"--workdir={workdir}", f"--output={tmp_path / 'out'}")
    first = emnat(*command, f"--input={tmp_path / 'in'}")
    assert b"line 1025 is not UTF-8" in first.communicate()[1] and (tmp_path / ".out.part").exists()
    second = emnat(*command)
    told = second.communicate(b"\n\n")[1]
    assert second.returncode == 0 and b"starts anew" in told and (tmp_path / "out").read_text() == "\n\n"
