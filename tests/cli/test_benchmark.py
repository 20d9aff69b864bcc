"""`emnat benchmark`: an update without data, translation of a finished workdir."""

import json

import pytest

from tests.cli.commands import error_of, run


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
    options = ("--role=teacher", "--round=0", "--batch=4", "--sentences=2")
    for changes in ((), ("--decoder=beam",)):
        code, _ = run("benchmark", "latency", f"--workdir={workdir}", *options, *changes, capsys=capsys)
        assert code == 0
    own, changed = map(json.loads, (workdir / "report/latency.jsonl").read_text().splitlines()[-2:])
    evaluated = json.loads((workdir / "rounds/0/eval.json").read_text())
    assert own["bleu"] == evaluated["teacher"]["test"]["bleu"] and "cpu" in own["device"]
    assert changed["name"] == "teacher, round 0, decoder=beam" and changed["bleu"] is not None


@pytest.mark.parametrize("mistake", ["--batch=0", "--batch=1,x", "--sentences=0"])
def test_benchmark_refuses(mistake, workdir, capsys):
    assert mistake.split("=")[0] in error_of(capsys, "benchmark", "latency", f"--workdir={workdir}", mistake)
