"""The commands as a user types them, on a small finished workdir."""

import json
import subprocess
import sys

import pytest
import sacrebleu

from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.cli.main import COMMANDS, main
from tests.cli.commands import error_of, run


@pytest.fixture
def sources(workdir, tmp_path):
    """Five lines to translate, one of them empty, one with odd characters."""
    path = tmp_path / "in.txt"
    words = json.loads((workdir / "rounds/0/eval.json").read_text())["samples"][0]["source"]
    path.write_text(f"{words}\n\nunknown wörds \u2028 \U0001f600\n{words}\n{words} {words} {words} {words}\n")
    return path


def test_help_is_quick_and_imports_nothing_heavy():
    """That of the program, and of every command."""
    code = (
        "import contextlib, sys\n"
        "from emnat_jax.cli.main import COMMANDS, main\n"
        "heavy = ('jax', 'numpy', 'sacrebleu', 'tensorflow_datasets', 'orbax')\n"
        "for name in ('', *COMMANDS):\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        main([name, '--help'] if name else ['--help'])\n"
        "    print(f'LOADED {name}:', *(library for library in heavy if library in sys.modules))\n"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = [line for line in output.splitlines() if line.startswith("LOADED")]
    assert loaded == [f"LOADED {name}:" for name in ("", *COMMANDS)]
    assert all(f"usage: emnat {name} " in output for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name, capsys):
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    output = capsys.readouterr().out
    assert f"emnat {name} " in output and "--workdir" in output and "Example" in output


@pytest.mark.slow
def test_training_needs_no_evaluation_libraries(workdir, tmp_path):
    """`emnat train` runs where tensorflow-datasets, sacrebleu and tensorboardX are not installed."""
    code = (
        "import sys\n"
        "for name in ('tensorflow_datasets', 'sacrebleu', 'tensorboardX'): sys.modules[name] = None\n"
        "from emnat_jax.cli.main import main\n"
        f"sys.exit(main(['train', '--role=teacher', '--workdir={workdir}', '--output={tmp_path / 'm'}']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "m" / "MANIFEST.json").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--role=teacher",),
        ("--role=teacher", "--decoder=beam"),
        ("--role=student", "--decoder=argmax"),
        ("--role=student", "--length-candidates=3", "--rescore=self"),
        ("--role=student", "--length-candidates=3", "--rescore=teacher"),
    ],
)
def test_translate_gives_a_line_for_each_line(workdir, sources, tmp_path, arguments):
    output = tmp_path / "out.txt"
    assert (
        run("translate", f"--workdir={workdir}", f"--input={sources}", f"--output={output}", *arguments)[0]
        == 0
    )
    lines = output.read_text().split("\n")
    assert len(lines) == 6 and lines[1] == "" and lines[0] == lines[3]


def test_the_teacher_chooses_among_as_many_as_a_round_reports(workdir, tmp_path):
    rows = list(read_dataset(workdir / "data/test"))
    (tmp_path / "in").write_text("".join(f"{row.source_text}\n" for row in rows))
    files = (f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}")
    assert run("translate", f"--workdir={workdir}", *files, "--round=0", "--rescore=teacher")[0] == 0
    wanted = (workdir / "rounds/0/outputs/test.student_rescored.txt").read_text()
    assert (
        (tmp_path / "out").read_text()
        == wanted
        != (workdir / "rounds/0/outputs/test.student.txt").read_text()
    )


def test_translate_reads_standard_input(workdir, sources):
    command = [sys.executable, "-m", "emnat_jax", "translate", f"--workdir={workdir}"]
    done = subprocess.run(command, input=sources.read_bytes(), capture_output=True, check=True)
    assert len(done.stdout.decode().split("\n")) == 6


def test_evaluate_repeats_the_report(workdir, capsys):
    code, output = run(
        "evaluate", f"--workdir={workdir}", "--role=student", "--round=0", "--json", capsys=capsys
    )
    figures = json.loads(output.out)
    report = json.loads((workdir / "report/report.json").read_text())
    assert code == 0 and figures["bleu"] == report["rounds"][0]["student"]["test"]["bleu"]


def test_evaluate_files_with_significance(tmp_path, capsys):
    reference = [f"the cat number {i} sat on the mat today" for i in range(30)]
    for name, lines in (("ref", reference), ("good", reference), ("bad", ["a dog ran away from it"] * 30)):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    arguments = (f"--hypotheses={tmp_path / 'good'}", f"--references={tmp_path / 'ref'}")
    code, output = run("evaluate", *arguments, f"--baseline={tmp_path / 'bad'}", "--json", capsys=capsys)
    figures = json.loads(output.out)
    assert code == 0 and round(figures["bleu"]) == 100 and "version:" in figures["bleu_signature"]
    assert figures["significance"]["BLEU"]["p_value"] < 0.05
    code, output = run("evaluate", *arguments, f"--baseline={tmp_path / 'good'}", "--json", capsys=capsys)
    assert {score["p_value"] for score in json.loads(output.out)["significance"].values()} == {1.0}
    (tmp_path / "short").write_text("one\n")
    message = error_of(capsys, "evaluate", arguments[0], f"--references={tmp_path / 'short'}")
    assert f"{tmp_path / 'short'} has 1 lines, {tmp_path / 'good'} has 30" in message
    message = error_of(capsys, "evaluate", *arguments, f"--baseline={tmp_path / 'short'}")
    assert f"{tmp_path / 'short'} has 1 lines, the output has 30" in message


def test_evaluate_files_without_spaces(tmp_path, capsys):
    """Without a language by their script, which is said; as given otherwise."""
    references, outputs = ["今天天气很好。", "他有两只猫。"], ["今天天气好。", "他有两只猫。"]
    for name, lines in (("ref", references), ("out", outputs)):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    files = [f"--hypotheses={tmp_path / 'out'}", f"--references={tmp_path / 'ref'}"]

    def scored(*options):
        code, output = run("evaluate", *files, "--json", *options, capsys=capsys)
        assert code == 0
        return json.loads(output.out), output.err

    expected = sacrebleu.corpus_bleu(outputs, [references], tokenize="zh").score
    found, said = scored()
    assert found["bleu"] == expected > 50 and "tok:zh" in found["bleu_signature"]
    assert "--language" in said and len(said.splitlines()) == 1
    for options in (["--language=zh-CN"], ["--tokenizer=zh"], ["--config.data.target_language=zh"]):
        found, said = scored(*options)
        assert found["bleu"] == expected and said == ""
    assert "tok:char" in scored("--language=zh", "--tokenizer=char")[0]["bleu_signature"]
    found, said = scored("--language=en", "--ter", "--lowercase", f"--baseline={tmp_path / 'ref'}")
    assert "tok:13a" in found["bleu_signature"] and "give --tokenizer=zh" in said
    assert found["ter"] > 0 and "case:lc" in found["ter_signature"] and "TER" in found["significance"]


def test_evaluate_of_a_workdir_takes_its_tokenizer_or_another(workdir, tmp_path, capsys):
    arguments = ("evaluate", f"--workdir={workdir}", "--round=0", "--json")
    for options, tokenizer in (
        (["--tokenizer=char"], "char"),
        (["--language=th"], "char"),
        (["--config.evaluation.tokenizer=intl"], "intl"),
        (["--config.evaluation.tokenizer=intl", "--tokenizer=none"], "none"),
    ):
        code, output = run(*arguments, *options, capsys=capsys)
        assert code == 0 and f"tok:{tokenizer}" in json.loads(output.out)["bleu_signature"]


def test_evaluate_against_several_references(workdir, tmp_path, capsys):
    """A sentence that matches its second reference word by word is right; other lines have only one."""
    first, second = "a b c d e f", "u v w x y z"
    (tmp_path / "refs.tsv").write_text(f"s1\t{first}\t{second}\ns2\t{first}\n")
    (tmp_path / "out").write_text(f"{second}\n{first}\n")
    files = (f"--hypotheses={tmp_path / 'out'}", f"--multi-references={tmp_path / 'refs.tsv'}", "--json")
    code, output = run("evaluate", *files, capsys=capsys)
    figures = json.loads(output.out)
    assert code == 0 and figures["bleu"] == pytest.approx(100) and "nrefs:var" in figures["bleu_signature"]
    code, output = run("evaluate", f"--workdir={workdir}", files[1], "--json", capsys=capsys)
    assert code == 0 and json.loads(output.out)["sentences"] == 2
    (tmp_path / "refs.tsv").write_text("alone\n")
    assert "refs.tsv:1" in error_of(capsys, "evaluate", *files)


def test_distill_score_select_chain(workdir, tmp_path, capsys):
    """The E-step by hand: candidates, two columns, the choice."""
    models, sets = workdir / "rounds/0", tmp_path
    common = f"--workdir={workdir}"
    assert (
        run(
            "distill", common, f"--model={models / 'teacher'}", "--num-candidates=3", f"--output={sets / 'c'}"
        )[0]
        == 0
    )
    for column, role, source, output in (
        ("teacher0_log_prob", "teacher", "c", "d"),
        ("student_log_prob", "student", "d", "e"),
    ):
        code, _ = run(
            "score",
            common,
            f"--model={models / role}",
            f"--data={sets / source}",
            f"--column={column}",
            f"--output={sets / output}",
        )
        assert code == 0
    capsys.readouterr()
    code, output = run(
        "select", common, f"--candidates={sets / 'e'}", f"--output={sets / 's'}", "--json", capsys=capsys
    )
    chosen = json.loads(output.out)
    assert code == 0 and chosen["rows"] == 120 and chosen["weights"] == {"alpha": 1, "beta": 1, "quality": 0}
    assert "student_log_prob" in error_of(
        capsys, "select", common, f"--candidates={sets / 'c'}", f"--output={sets / 'x'}"
    )


def test_score_of_text_pairs(workdir, tmp_path, capsys):
    samples = json.loads((workdir / "rounds/0/eval.json").read_text())["samples"]
    for side in ("source", "reference"):
        (tmp_path / side).write_text("".join(f"{s[side]}\n" for s in samples))
    arguments = (
        f"--workdir={workdir}",
        f"--model={workdir / 'rounds/0/teacher'}",
        f"--source={tmp_path / 'source'}",
    )
    code, output = run("score", *arguments, f"--target={tmp_path / 'reference'}", capsys=capsys)
    values = [float(line) for line in output.out.split()]
    assert code == 0 and len(values) == len(samples) and max(values) < 0
    (tmp_path / "one").write_text("x\n")
    assert "lines" in error_of(capsys, "score", *arguments, f"--target={tmp_path / 'one'}")


def test_report_is_written_anew_with_the_speed_that_was_measured(workdir, capsys):
    code, _ = run(
        "benchmark",
        "latency",
        f"--workdir={workdir}",
        "--role=student",
        "--batch=1",
        "--sentences=2",
        capsys=capsys,
    )
    assert code == 0
    code, output = run("report", f"--workdir={workdir}", capsys=capsys)
    page = (workdir / "report/index.html").read_text()
    assert code == 0 and "index.html" in output.out and "ms a sentence" in page and "Did EM help?" in page


def test_plan_shows_what_is_done(workdir, capsys):
    code, output = run("em", f"--workdir={workdir}", "--plan", "--config.em.rounds=2", capsys=capsys)
    lines = output.out.splitlines()
    assert code == 0 and lines[0].startswith("done") and lines[-1].startswith("to do")
