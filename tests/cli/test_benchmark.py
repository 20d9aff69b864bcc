"""`emnat benchmark`: an update without data, translation of a finished workdir."""

import json

import pytest
import sacrebleu

from emnat_jax.artifacts.manifest import read_dataset
from tests.cli.commands import error_of, run


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


def test_benchmark_of_translation(workdir, capsys):
    options = ("--batch=1,4,32", "--sentences=6", "--json")
    code, output = run("benchmark", "latency", f"--workdir={workdir}", *options, capsys=capsys)
    figures = json.loads(output.out)
    assert code == 0 and figures["sentences"] == 6 and "tok:13a" in figures["bleu_signature"]
    for size, calls in (("batch_1", 24), ("batch_4", 20), ("batch_32", 20)):
        assert 0 < figures[size]["median_ms"] <= figures[size]["p95_ms"]
        assert figures[size]["calls"] == calls  # 6 and 2 batches, and one


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


@pytest.mark.parametrize("mistake", ["--batch=0", "--batch=1,x", "--sentences=0"])
def test_benchmark_refuses(mistake, workdir, capsys):
    assert mistake.split("=")[0] in error_of(capsys, "benchmark", "latency", f"--workdir={workdir}", mistake)
