"""The commands as a user types them: on a small finished workdir, and with every kind of mistake."""

import gzip
import json
import os
import shutil
import subprocess
import sys

import pytest

from emnat_jax.cli.main import COMMANDS, main
from emnat_jax.cli.options import _require_platform
from emnat_jax.config_dict import to_dict
from emnat_jax.errors import UserError
from tests.em.runs import finished_run, small_config


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("cli") / "run"
    shutil.copytree(finished_run(tmp_path_factory), directory)
    return directory


@pytest.fixture
def sources(workdir, tmp_path):
    """Five lines to translate, one of them empty, one with odd characters."""
    path = tmp_path / "in.txt"
    words = json.loads((workdir / "rounds/0/eval.json").read_text())["samples"][0]["source"]
    path.write_text(f"{words}\n\nunknown wörds \u2028 \U0001f600\n{words}\n{words} {words} {words} {words}\n")
    return path


def run(*arguments, capsys=None):
    code = main([str(a) for a in arguments])
    return code, capsys.readouterr() if capsys else None


def error_of(capsys, *arguments) -> str:
    code, output = run(*arguments, capsys=capsys)
    assert code == 2
    assert len(output.err.strip().splitlines()) <= 3 and "Traceback" not in output.err
    return output.err


def test_help_is_quick_and_imports_nothing_heavy():
    code = "import sys; from emnat_jax.cli.main import main; main(['--help']); print(sorted(sys.modules))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(name in output for name in COMMANDS)
    for library in ("'jax'", "'numpy'", "'sacrebleu'", "'tensorflow_datasets'", "'orbax'"):
        assert library not in output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name, capsys):
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    output = capsys.readouterr().out
    assert f"emnat {name} " in output and "--workdir" in output and "Example" in output


def test_training_needs_no_evaluation_libraries(workdir, tmp_path):
    """`emnat train` runs where tensorflow-datasets, sacrebleu and tensorboardX are not installed."""
    code = (
        "import sys\n"
        "for name in ('tensorflow_datasets', 'sacrebleu', 'tensorboardX'): sys.modules[name] = None\n"
        "from emnat_jax.cli.main import main\n"
        f"sys.exit(main(['train', '--role=ar', '--workdir={workdir}', '--output={tmp_path / 'm'}']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "m" / "MANIFEST.json").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--role=ar",),
        ("--role=ar", "--decoder=beam"),
        ("--role=nar", "--decoder=argmax"),
        ("--role=nar", "--length-candidates=3", "--rescore=self"),
        ("--role=nar", "--length-candidates=3", "--rescore=ar"),
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


def test_translate_reads_standard_input(workdir, sources):
    command = [sys.executable, "-m", "emnat_jax", "translate", f"--workdir={workdir}"]
    done = subprocess.run(command, input=sources.read_bytes(), capture_output=True, check=True)
    assert len(done.stdout.decode().split("\n")) == 6


def test_evaluate_repeats_the_report(workdir, capsys):
    code, output = run("evaluate", f"--workdir={workdir}", "--role=nar", "--round=0", "--json", capsys=capsys)
    figures = json.loads(output.out)
    report = json.loads((workdir / "report/report.json").read_text())
    assert code == 0 and figures["bleu"] == report["rounds"][0]["nar"]["test"]["bleu"]


def test_evaluate_files_with_significance(tmp_path, capsys):
    reference = [f"the cat number {i} sat on the mat today" for i in range(30)]
    for name, lines in (("ref", reference), ("good", reference), ("bad", ["a dog ran away from it"] * 30)):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    arguments = (f"--hypotheses={tmp_path / 'good'}", f"--references={tmp_path / 'ref'}")
    code, output = run("evaluate", *arguments, f"--baseline={tmp_path / 'bad'}", "--json", capsys=capsys)
    figures = json.loads(output.out)
    assert code == 0 and round(figures["bleu"]) == 100 and "version:" in figures["bleu_signature"]
    assert figures["significance"]["BLEU"]["p_value"] < 0.05
    (tmp_path / "short").write_text("one\n")
    message = error_of(capsys, "evaluate", arguments[0], f"--references={tmp_path / 'short'}")
    assert "30 outputs but 1 lines" in message


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
        run("distill", common, f"--model={models / 'ar'}", "--num-candidates=3", f"--output={sets / 'c'}")[0]
        == 0
    )
    for column, role, source, output in (("ar0_log_prob", "ar", "c", "d"), ("nar_log_prob", "nar", "d", "e")):
        code, _ = run(
            "score", common, f"--model={models / role}", f"--data={sets / source}", f"--column={column}",
            f"--output={sets / output}",
        )  # fmt: skip
        assert code == 0
    capsys.readouterr()
    code, output = run(
        "select", common, f"--candidates={sets / 'e'}", f"--output={sets / 's'}", "--json", capsys=capsys
    )
    chosen = json.loads(output.out)
    assert code == 0 and chosen["rows"] == 120 and chosen["weights"] == {"alpha": 1, "beta": 1, "quality": 0}
    assert "nar_log_prob" in error_of(
        capsys, "select", common, f"--candidates={sets / 'c'}", f"--output={sets / 'x'}"
    )


def test_score_of_text_pairs(workdir, tmp_path, capsys):
    samples = json.loads((workdir / "rounds/0/eval.json").read_text())["samples"]
    for side in ("source", "reference"):
        (tmp_path / side).write_text("".join(f"{s[side]}\n" for s in samples))
    arguments = (
        f"--workdir={workdir}",
        f"--model={workdir / 'rounds/0/ar'}",
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
        "--role=nar",
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


def test_an_object_store_without_its_client_names_it(capsys):
    assert "s3fs" in error_of(capsys, "em", "--workdir=s3://bucket/run")


@pytest.mark.parametrize(
    "arguments, parts",
    [
        (("em", "--config.em.ronds=2"), ("em.ronds", "em.rounds")),
        (("em", "--config.em.rounds=two"), ("em.rounds", "two")),
        (("em", "--config.data.kind=texts"), ("data.kind", "text")),
        (("em", "--config.student.family=nat"), ("family", "nar")),
        (("em", "--config=nowhere.py"), ("nowhere.py",)),
        (("prepare", "--config.data.kind=text"), ("data.t", "_source")),
        (("translate", "--role=ar"), ("no finished", "emnat em")),
        (("em", *(f"--config.teacher.{o}" for o in ("attention=cudnn", "dtype=bfloat16", "attention_dropout=0.0"))),
         ("attention=cudnn", "use xla")),
        (("em", "--config.mesh.data=3"), ("mesh.data=3", "4 devices")),
        (("train", "--role=ar"), ("emnat prepare",)),
        (("train", "--role=nar", "--targets=0"), ("--targets=0",)),
        (("report",), ("holds no run", "emnat em")),
        (("compile", "--topology=v5e:2x4", "--slices=0"), ("--slices=0",)),
        (("evaluate", "--hypotheses=x"), ("--references",)),
    ],
)  # fmt: skip
def test_mistakes_end_with_one_line(tmp_path, capsys, arguments, parts):
    message = error_of(capsys, *arguments, f"--workdir={tmp_path / 'new'}")
    assert all(part in message for part in parts), message


def test_a_mistake_in_a_config_file_is_named_by_file_and_line(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(
        "from emnat_jax.config_dict import to_config_dict\n\n"
        "def get_config():\n    c = to_config_dict()\n    c.em.ronds = 3\n    return c\n"
    )
    message = error_of(capsys, "em", f"--config={path}", f"--workdir={tmp_path / 'w'}")
    assert "mine.py:5" in message and "ronds" in message


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


def test_benchmark_of_an_update_needs_no_workdir(tmp_path, capsys):
    sizes = ("--rows=4", "--length=6", "--vocab=50", "--repeats=2", f"--workdir={tmp_path / 'none'}")
    models = [
        f"--config.student.{name}" for name in ("encoder_layers=1", "width=16", "ff_width=32", "heads=2")
    ]
    code, output = run("benchmark", "train", "--json", *sizes, *models, capsys=capsys)
    figures = json.loads(output.out)
    assert code == 0
    assert figures["target_tokens_per_second"] == pytest.approx(4 * 6 / figures["median_ms"] * 1e3)
    assert figures["loss_alone_ms"] > 0 and figures["temporary_bytes"] > 0


def test_benchmark_of_translation(workdir, capsys):
    code, output = run(
        "benchmark",
        "latency",
        f"--workdir={workdir}",
        "--batch=1,4",
        "--sentences=6",
        "--json",
        capsys=capsys,
    )
    figures = json.loads(output.out)
    assert code == 0 and figures["sentences"] == 6
    for size in ("batch_1", "batch_4"):
        assert 0 < figures[size]["median_ms"] <= figures[size]["p95_ms"]


def test_another_decoder_is_timed_with_its_own_bleu(workdir, capsys):
    options = ("--role=ar", "--round=0", "--batch=4", "--sentences=2")
    for changes in ((), ("--decoder=beam",)):
        code, _ = run("benchmark", "latency", f"--workdir={workdir}", *options, *changes, capsys=capsys)
        assert code == 0
    own, changed = map(json.loads, (workdir / "report/latency.jsonl").read_text().splitlines()[-2:])
    evaluated = json.loads((workdir / "rounds/0/eval.json").read_text())
    assert own["bleu"] == evaluated["ar"]["test"]["bleu"] and "cpu" in own["device"]
    assert changed["name"] == "ar, round 0, decoder=beam" and changed["bleu"] is not None


@pytest.mark.parametrize("mistake", ["--batch=0", "--batch=1,x", "--sentences=0"])
def test_benchmark_refuses(mistake, workdir, capsys):
    assert mistake.split("=")[0] in error_of(capsys, "benchmark", "latency", f"--workdir={workdir}", mistake)


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
        _require_platform(asked, found)
    else:
        with pytest.raises(UserError, match=message):
            _require_platform(asked, found)


@pytest.mark.parametrize("platform", ["cuda", "tpu,cpu"])
def test_an_absent_platform_ends_with_status_2(workdir, platform):
    done = subprocess.run(
        [sys.executable, "-m", "emnat_jax", "translate", f"--workdir={workdir}"],
        env=os.environ | {"JAX_PLATFORMS": platform}, capture_output=True, text=True, input="",
    )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr and "JAX_PLATFORMS" in done.stderr
