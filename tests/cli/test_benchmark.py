"""`emnat benchmark`: systems side by side, of a finished workdir or with random weights; an update."""

import json
import shutil
import subprocess
import sys
from unittest.mock import ANY

import pytest
import sacrebleu

from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.cli import benchmark
from emnat_jax.config import MeshConfig
from emnat_jax.errors import UserError
from emnat_jax.profiling.random_models import RandomSize, export_random, random_model
from emnat_jax.runtime.cores import available_cores
from emnat_jax.runtime.mesh import make_layout
from tests.cli.commands import error_of, run

TINY = ("--random", "--size=tiny", "--vocab=50", "--length=5", "--sentences=3")
WITHOUT_JAX = "import sys, emnat_jax.cli.benchmark; assert not {'jax', 'numpy'} & set(sys.modules)"


def timings_of(capsys, *arguments):
    """What is printed as JSON, by name; and what is said beside it."""
    code, output = run("benchmark", *arguments, "--json", capsys=capsys)
    assert code == 0, output.err
    found = json.loads(output.out)["timings"]
    return {timing["name"]: timing for timing in found}, output.err


@pytest.mark.slow
def test_benchmark_of_an_update_needs_no_workdir(tmp_path, capsys):
    sizes = ("--rows=4", "--length=6", "--vocab=50", "--repeats=2", f"--workdir={tmp_path / 'none'}")
    models = [
        f"--config.student.{name}" for name in ("encoder_layers=1", "width=16", "ff_width=32", "heads=2")
    ]
    code, output = run("benchmark", "train", "--json", *sizes, *models, capsys=capsys)
    figures = json.loads(output.out)
    assert code == 0
    assert figures["target_tokens_per_second"] == pytest.approx(4 * 6 / figures["mean_ms"] * 1e3)
    assert figures["loss_alone_ms"] > 0 and figures["temporary_bytes"] > 0
    assert figures["cores"] == available_cores() and "cpu" in figures["devices"]


def test_benchmark_of_translation(workdir, capsys):
    options = ("--batch=1,4,32", "--sentences=6")
    found, _ = timings_of(capsys, "latency", f"--workdir={workdir}", *options)
    (timing,) = found.values()
    assert timing["sentences"] == 6 and "tok:13a" in timing["bleu_signature"]
    sizes = [(batch["batch"], batch["calls"]) for batch in timing["batches"]]
    assert sizes == [(1, 24), (4, 20), (32, 20)]  # 6 and 2 batches, and one
    for batch in timing["batches"]:
        assert 0 < batch["median_ms"] <= batch["p95_ms"] and batch["ratio"] == 1.0
    machine = timing["machine"]
    assert machine["cores"] == available_cores() and machine["versions"]["jax"]
    assert "onnxruntime" not in machine["versions"]  # it did not run


@pytest.mark.slow
def test_a_time_stands_beside_the_bleu_of_its_own_sentences_and_decoder(workdir, capsys):
    options = ("--role=teacher", "--round=0", "--batch=4", "--sentences=2")
    for changes in ((), ("--decoder=beam",)):
        code, _ = run("benchmark", "latency", f"--workdir={workdir}", *options, *changes, capsys=capsys)
        assert code == 0
    own, changed = map(json.loads, (workdir / "report/latency.jsonl").read_text().splitlines()[-2:])
    outputs = (workdir / "rounds/0/outputs/test.teacher.txt").read_text().splitlines()[:2]
    references = [row.target_text for row in read_dataset(workdir / "data/test")][:2]
    assert own["batches"][0]["bleu"] == sacrebleu.corpus_bleu(outputs, [references]).score
    assert (own["sentences"], own["name"]) == (2, "teacher, round 0") and "cpu" in own["device"]
    assert changed["name"] == "teacher, round 0, decoder=beam" and changed["batches"][0]["bleu"] >= 0


@pytest.mark.slow
def test_systems_stand_side_by_side_and_an_export_is_made_where_it_is_missing(workdir, capsys):
    teacher = workdir / "rounds" / "0" / "teacher"
    systems = f"student,student:onnx:float32:decoder=argmax,student:onnx:decoder=argmax:int8,{teacher}"
    arguments = ("latency", f"--workdir={workdir}", f"--systems={systems}", "--batch=2", "--sentences=4")
    found, said = timings_of(capsys, *arguments)
    folder = workdir / "exports" / "student-decoder=argmax"
    assert f"{folder} is not there: exports it" in said and said.count("exports it") == 1
    argmax = "student, round 1, decoder=argmax"
    names = ["student, round 1", f"{argmax}, onnx float32", f"{argmax}, onnx int8", "rounds/0/teacher"]
    assert list(found) == names
    runs = [(timing["role"], timing["backend"], timing["precision"]) for timing in found.values()]
    assert runs == [
        ("student", "jax", "float32"),
        ("student", "onnx", "float32"),
        ("student", "onnx", "int8"),
        ("teacher", "jax", "float32"),
    ]
    first = found["student, round 1"]["batches"][0]
    for timing in found.values():
        batch = timing["batches"][0]
        assert batch["ratio"] == pytest.approx(first["median_ms"] / batch["median_ms"])
        assert timing["machine"]["versions"]["onnxruntime"]
    kept = [json.loads(line)["name"] for line in (workdir / "report/latency.jsonl").read_text().splitlines()]
    assert kept[-4:] == names
    _, said = timings_of(capsys, "latency", f"--workdir={workdir}", f"--systems={folder}", "--batch=2")
    assert "exports it" not in said


@pytest.mark.slow
def test_throughput_is_of_all_sentences_with_the_bleu_of_these(workdir, capsys):
    arguments = ("throughput", f"--workdir={workdir}", "--sentences=5", "--passes=2")
    found, _ = timings_of(capsys, *arguments, "--systems=teacher:round=0,student:onnx:float32")
    teacher, student = found["teacher, round 0"], found["student, round 1, onnx float32"]
    outputs = (workdir / "rounds/0/outputs/test.teacher.txt").read_text().splitlines()[:5]
    references = [row.target_text for row in read_dataset(workdir / "data/test")][:5]
    assert teacher["bleu"] == sacrebleu.corpus_bleu(outputs, [references]).score
    assert (teacher["sources"], teacher["passes"], teacher["candidates"]) == (5, 2, 1)
    assert teacher["batch"] == 8 and list(teacher["tried"]) == ["8"]  # all of them fit into it
    assert (teacher["batch_unit"], student["batch_unit"]) == ("rows", "tokens")
    assert student["ratio"] == pytest.approx(student["sources_per_second"] / teacher["sources_per_second"])
    assert teacher["fastest_seconds"] <= teacher["median_seconds"] <= teacher["slowest_seconds"]
    kept = [json.loads(line) for line in (workdir / "report/throughput.jsonl").read_text().splitlines()]
    assert [{**rate, "schema_version": ANY, "checksum": ANY} for rate in found.values()] == kept[-2:]


def test_distillation_is_of_training_sources_greedy_and_with_lists(workdir, capsys):
    arguments = ("distill", f"--workdir={workdir}", "--sentences=4", "--passes=1", "--num-candidates=1,3")
    code, output = run("benchmark", *arguments, "--json", capsys=capsys)
    found = json.loads(output.out)["timings"]
    assert code == 0
    assert [timing["name"] for timing in found] == ["teacher, round 1, decoder=greedy"] * 2
    assert [timing["candidates"] for timing in found] == [1, 3]
    assert all(timing["sources"] == 4 and timing["bleu"] is None for timing in found)
    kept = [json.loads(line) for line in (workdir / "report/throughput.jsonl").read_text().splitlines()]
    assert [{**rate, "schema_version": ANY, "checksum": ANY} for rate in found] == kept[-2:]


@pytest.mark.slow
def test_an_exported_teacher_stands_beside_the_own_search(workdir, capsys):
    systems = "--systems=teacher,teacher:ctranslate2:float32,teacher:ctranslate2:int8"
    arguments = (f"--workdir={workdir}", systems, "--sentences=4")
    found, said = timings_of(capsys, "latency", *arguments, "--batch=2")
    assert said.count("exports it") == 1 and "exports/teacher is not there" in said
    own, exported = (found[f"teacher, round 1{runs}"] for runs in ("", ", ctranslate2 float32"))
    assert exported["batches"][0]["bleu"] == own["batches"][0]["bleu"]
    assert exported["machine"]["versions"]["ctranslate2"] and exported["role"] == "teacher"
    code, output = run("benchmark", "distill", *arguments, "--passes=1", "--json", capsys=capsys)
    rates = json.loads(output.out)["timings"]
    assert code == 0
    assert [(rate["candidates"], rate["batch_unit"]) for rate in rates] == [
        (count, unit) for count in (1, 8) for unit in ("rows", "tokens", "tokens")
    ]


@pytest.mark.slow
def test_a_student_with_a_shortlist_is_exported_beside_the_other(workdir, capsys):
    arguments = ("latency", f"--workdir={workdir}", "--sentences=2", "--batch=1")
    systems = "--systems=student:round=0:onnx:int8:shortlist=3"
    found, said = timings_of(capsys, *arguments, systems)
    assert list(found) == ["student, round 0, shortlist=3, onnx int8"]
    assert (workdir / "exports/student-round=0-shortlist=3/MANIFEST.json").exists()
    assert "exports it" in said and "exports it" not in timings_of(capsys, *arguments, systems)[1]


@pytest.mark.slow
def test_random_weights_need_no_workdir_and_are_not_kept(tmp_path, capsys):
    systems = "--systems=ar:layers=1+1,vanilla:layers=1+1:onnx:int8"
    arguments = ("latency", *TINY, f"--workdir={tmp_path / 'none'}", "--batch=2", systems)
    code, output = run("benchmark", *arguments, capsys=capsys)
    lines = output.out.splitlines()
    assert code == 0 and not (tmp_path / "none").exists()
    assert lines[1].startswith("ar, layers=1+1  ") and lines[2].startswith("vanilla, layers=1+1, onnx int8  ")
    assert len({len(line) for line in lines[:3]}) == 1 and f"{available_cores()} core" in output.out
    arguments = ("throughput", *TINY, f"--workdir={tmp_path / 'none'}", "--systems=ar:layers=1+1")
    found, _ = timings_of(capsys, *arguments, "--passes=1")
    assert not (tmp_path / "none").exists()
    assert found["ar, layers=1+1"]["target_tokens"] == 3 * 5 and found["ar, layers=1+1"]["bleu"] is None


def test_the_table_of_readme_is_what_random_weights_are_timed_as(monkeypatch, capsys):
    """Without --systems and --families."""
    from emnat_jax.profiling import random_systems

    asked = []

    def opened(systems, names):
        asked.append((systems._size, [str(name) for name in names]))
        raise UserError("enough")

    monkeypatch.setattr(random_systems.RandomSystems, "open", opened)
    assert "enough" in error_of(capsys, "benchmark", "latency", "--random")
    assert "enough" in error_of(capsys, "benchmark", "latency", "--random", "--families=ctc", "--vocab=99")
    (size, names), (other, others) = asked
    assert (size, other) == (RandomSize("base", 32_000, 25), RandomSize("base", 99, 25))
    assert names[0] == "ar:ctranslate2:int8" and "vanilla:onnx:int8" in names
    assert {name.partition(":")[0] for name in others} == {"ar", "ctc"}


def test_threads_are_taken_before_jax_is_there(monkeypatch, capsys):
    subprocess.run([sys.executable, "-c", WITHOUT_JAX], check=True)
    happened = []

    def opened(*given):
        happened.append("JAX")
        raise UserError("enough")

    monkeypatch.setattr(benchmark, "bind_to_cores", lambda count: happened.append(count))
    monkeypatch.setattr(benchmark, "open_workspace", opened)
    for what in ("latency", "train"):
        assert "enough" in error_of(capsys, "benchmark", what, "--threads=2")
    assert happened == [2, "JAX"] * 2


def test_exported_models_have_as_many_threads_as_there_are_cores(workdir, monkeypatch, capsys):
    from emnat_jax.export import load
    from emnat_jax.profiling import open_systems

    given = []

    def watched(folder, precision, threads, **more):
        given.append((precision, threads))
        return load.load_exported(folder, precision, threads, **more)

    monkeypatch.setattr(open_systems, "load_exported", watched)
    monkeypatch.setattr("emnat_jax.cli.benchmark_systems.available_cores", lambda: 3)
    timings_of(
        capsys, "latency", f"--workdir={workdir}", "--systems=student:onnx:int8", "--batch=1", "--sentences=1"
    )
    assert given == [("int8", 3)]


def test_an_export_of_another_model_is_not_timed_in_its_place(workdir, tmp_path, capsys):
    copy = shutil.copytree(workdir, tmp_path / "run", ignore=shutil.ignore_patterns("exports"))
    assert run("export", f"--workdir={copy}", "--round=0", "--decoder=argmax")[0] == 0
    capsys.readouterr()
    said = error_of(capsys, "benchmark", "latency", f"--workdir={copy}", "--systems=student:onnx")
    assert "exports/student is of another model or decodes otherwise" in said


def test_tokens_are_not_given_to_a_model_with_another_vocabulary(workdir, tmp_path, capsys):
    size = RandomSize("tiny", 50, 8)
    layers = {"encoder_layers": 1, "decoder_layers": 1}
    model = random_model(size.model("vanilla", **layers), size.vocabulary(), make_layout(MeshConfig()))
    export_random(model, tmp_path / "other", "onnx")
    said = error_of(capsys, "benchmark", "distill", f"--workdir={workdir}", f"--systems={tmp_path / 'other'}")
    assert "has another vocabulary than" in said


@pytest.mark.parametrize(
    "mistake", ["--batch=0", "--batch=1,x", "--batch=2,2", "--sentences=0", "--threads=0"]
)
def test_benchmark_refuses(mistake, workdir, capsys):
    assert mistake.split("=")[0] in error_of(capsys, "benchmark", "latency", f"--workdir={workdir}", mistake)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("train", "--systems=student"), "leave out --systems"),
        (("latency", "--families=ctc"), "add --random"),
        (("throughput", "--points=3"), "--points is of growth"),
        (("latency", "--systems=student", "--round=0"), "--round: put it into the names"),
        (("latency", "--random", "--role=teacher"), "--role is of trained models"),
        (("latency", *TINY, "--systems=ar", "--families=ctc"), "leave out --systems"),
        (("latency", *TINY, "--systems=teacher"), "'teacher' is neither ar"),
        (("latency", "--systems=student:tensorrt"), "'tensorrt': give one of jax"),
        (("latency", "--systems=student:round=x"), "round=x: give a number"),
        (("latency", "--systems=student:onnx:rescore=self"), "leave out rescore"),
        (("latency", "--systems=teacher:onnx:round=0"), "ar has no ONNX graph"),
        (("distill", "--num-candidates=0"), "--num-candidates=0"),
        (("throughput", "--passes=0"), "--passes=0"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, says, workdir, capsys):
    what, *options = arguments
    assert says in error_of(capsys, "benchmark", what, f"--workdir={workdir}", *options)


def test_a_missing_package_is_named_with_what_installs_it(workdir, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    said = error_of(capsys, "benchmark", "latency", f"--workdir={workdir}", "--systems=student:onnx")
    assert "onnxruntime: pip install 'emnat_jax[export]'" in said
