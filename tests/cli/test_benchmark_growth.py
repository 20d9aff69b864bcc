"""`emnat benchmark growth`: real children for two stages, and mistakes before any of them."""

import json
import subprocess
import sys

import pytest

from emnat_jax.report.growth import Growth
from tests.cli.commands import error_of, run

SMALL = ("--sentences=20", "--length=5", "--vocab=40", "--points=2")
WITHOUT_JAX = "import sys, emnat_jax.profiling.growth; assert 'jax' not in sys.modules"


@pytest.mark.slow
def test_stages_are_measured_in_processes_of_their_own_and_kept(tmp_path, capsys):
    arguments = ("benchmark", "growth", *SMALL, f"--output={tmp_path / 'new'}", "--json")
    code, output = run(*arguments, "--stages=read,evaluate", "--vary=sentences", capsys=capsys)
    assert code == 0, output.err
    found = json.loads(output.out)
    assert [(line["stage"], line["values"]) for line in found["series"]] == [
        ("read", [20, 40]),
        ("evaluate", [20, 40]),
    ]
    assert all(cost["seconds"] > 0 for line in found["series"] for cost in line["costs"])
    assert found["failed"] == [] and "4 of 4: evaluate (sentences 40, length 5)" in output.err
    assert json.loads((tmp_path / "new" / "growth.json").read_text()) == found
    assert (tmp_path / "new" / "growth.svg").read_text().startswith("<svg xmlns")
    assert "has growth.json and growth.svg already" in error_of(capsys, *arguments)


def test_the_devices_are_left_to_the_children():
    subprocess.run([sys.executable, "-c", WITHOUT_JAX], check=True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--stages=sleep",), "--stages: sleep"),
        (("--vary=width",), "--vary: width"),
        (("--points=1",), "--points=1"),
        (("--length=1",), "--length=1"),
        (("--vocab=3",), "--vocab=3"),
        (("--vocab=39",), "--vocab=39: use 40 or more"),
        (("--sentences=0",), "--sentences=0"),
        (("--batch=1,8",), "--batch=1,8: growth doubles from one number"),
        (("--num-candidates=0",), "--num-candidates=0"),
        (("--families=ar",), "--families=ar: give one student family"),
        (("--families=ctc,dag",), "--families=ctc,dag: give one"),
        (("--systems=ar",), "leave out --systems"),
        (("--random",), "leave out --systems and --random"),
        (("--workdir=runs/other",), "--workdir: growth makes its models, texts and runs itself"),
        (("--passes=3",), "--passes is of throughput"),
        (("--rows=8",), "--rows is of train"),
        (("--role=teacher",), "--role is of trained models: leave it out"),
        (("--config.seed=1",), "leave out --config"),
        ((f"--output={__file__}",), "is a file"),
        (("--threads=0",), "--threads=0"),
    ],
)
def test_mistakes_are_found_before_anything_is_measured(arguments, says, monkeypatch, capsys):
    def measured(*given) -> Growth:
        raise AssertionError("measured")

    monkeypatch.setattr("emnat_jax.profiling.growth.measure_growth", measured)
    assert says in error_of(capsys, "benchmark", "growth", *arguments)
