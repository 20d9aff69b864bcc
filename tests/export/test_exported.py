"""The folder of an exported student: made, opened, refused."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import emnat_jax as em
from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.config import Scoring
from emnat_jax.errors import UserError
from emnat_jax.export import make
from emnat_jax.export.onnx_runtime import batches
from emnat_jax.export.parity import Outputs, Sample, loses, parity
from tests.cli.commands import error_of, run
from tests.data.rows import edit_manifest

ROOT = Path(__file__).parents[2]
WITHOUT_JAX = """
import sys
import emnat_jax as em
model = em.load(sys.argv[1])
print(model.translate([sys.argv[2]])[0])
assert not {"jax", "flax", "tensorflow"} & set(sys.modules), "an exported model needs none of these"
"""


@pytest.fixture
def lines(workdir) -> list[str]:
    return [row.source_text for row in read_dataset(workdir / "data" / "test")]


@pytest.fixture
def folder(workdir) -> Path:
    return workdir / "exports" / "student"


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    """An exported model that a test may change, far from its workdir."""
    return shutil.copytree(folder, tmp_path / "copy")


def manifest_of(folder: Path) -> dict:
    return json.loads((folder / "MANIFEST.json").read_text())


def test_translations_are_those_of_the_trained_model(workdir, copy, lines):
    lines = [*lines, "", " ".join(lines[:4])]  # one without words, one that is too long
    with pytest.warns(UserWarning, match="translated in parts"):
        expected = em.load(workdir).translate(lines)
    exported = em.load(copy, precision="float32", threads=1)
    assert isinstance(exported, em.Translator) and not isinstance(exported, em.TrainedModel)
    with pytest.warns(UserWarning, match="translated in parts"):
        assert exported.translate(lines) == expected
    assert em.load(copy).translate([]) == []


def test_the_manifest_says_what_was_measured(workdir, folder):
    options = manifest_of(folder)["options"]
    measured = options["parity"]
    assert measured["sentences"] == measured["float32"]["identical"] == 24
    assert measured["float32"]["bleu"] == measured["trained"]["bleu"]
    assert 0 < measured["int8"]["identical"] <= 24 and "tok:13a" in measured["bleu_signature"]
    within = measured["trained"]["bleu"] - measured["int8"]["bleu"] <= 0.2
    assert options["precision"] == ("int8" if within else "float32")
    assert manifest_of(folder)["fingerprints"]["model"] == em.load(workdir).fingerprint


def test_it_runs_without_jax(folder, lines, workdir, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WITHOUT_JAX, str(folder), lines[0]]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == em.load(folder).translate(lines[:1])[0]


@pytest.mark.parametrize("named", ["--model", "--backend"])
def test_translate_takes_it_by_folder_and_by_backend(workdir, folder, lines, tmp_path, named):
    source, output = tmp_path / "source", tmp_path / "output"
    source.write_text("\n".join(lines) + "\n")
    option = f"--model={folder}" if named == "--model" else "--backend=onnx"
    code, _ = run("translate", f"--workdir={workdir}", option, f"--input={source}", f"--output={output}")
    assert code == 0 and output.read_text().splitlines() == em.load(folder).translate(lines)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--backend=onnx", "--n-best=2"], "the best translation alone"),
        (["--backend=onnx", "--scores"], "the best translation alone"),
        (["--backend=onnx", "--decoder=argmax"], "--decoder"),
        (["--backend=onnx", "--rescore=teacher"], "--rescore"),
        (["--backend=ctranslate2"], "not ctranslate2"),
        (["--backend=onnx", "--role=teacher"], "emnat export"),
        (["--precision=int8"], "exported model"),
        (["--threads=2"], "exported model"),
        (["--backend=onnx", "--config.seed=3"], "as it was exported"),
    ],
)
def test_options_that_do_not_go_together_are_refused(workdir, lines, tmp_path, capsys, options, says):
    (tmp_path / "source").write_text(lines[0])
    asked = ["translate", f"--workdir={workdir}", f"--input={tmp_path / 'source'}", *options]
    assert says in error_of(capsys, *asked)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("evaluate --model=EXPORTED", "name a trained model"),
        ("train --role=student --start=EXPORTED --output=OUT", "name a trained model"),
        ("train --role=student --data=EXPORTED --output=OUT", "name a data set"),
        ("distill --model=TEACHER --data=EXPORTED --output=OUT", "name a data set"),
        ("distill --model=EXPORTED --data=TEACHER --output=OUT", "name a data set"),
    ],
)
def test_commands_say_what_they_were_given(workdir, folder, tmp_path, capsys, asked, says):
    """An exported model where a trained one or a data set is wanted, and a trained one as a data set."""
    places = {"EXPORTED": folder, "OUT": tmp_path / "out", "TEACHER": workdir / "rounds/0/teacher"}
    for name, path in places.items():
        asked = asked.replace(name, str(path))
    assert says in error_of(capsys, *asked.split(), f"--workdir={workdir}")


def test_load_refuses_what_it_cannot_do(workdir, folder):
    with pytest.raises(UserError, match="leave out decoder"):
        em.load(folder, decoder="argmax")
    with pytest.raises(UserError, match="no exported model"):
        em.load(workdir, precision="int8")
    with pytest.raises(UserError, match="float16"):
        em.load(folder, precision="float16")
    with pytest.raises(UserError, match="log-probabilities"):
        em.load(folder).score(["a"], ["b"])


@pytest.mark.parametrize("name", ["int8.onnx", "float32.onnx", "vocab/model", "MANIFEST.json"])
@pytest.mark.parametrize("damage", ["lost", "cut"])
def test_a_damaged_folder_is_refused(copy, name, damage):
    path = copy / name
    if damage == "lost":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError):
        em.load(copy, precision=name.partition(".")[0] if name.endswith(".onnx") else None)


def test_a_file_that_the_manifest_does_not_know_is_refused_where_it_might_be_read(copy):
    (copy / "README.md").write_text("how it was made")
    em.load(copy)
    (copy / "int4.onnx").write_bytes(b"weights")
    with pytest.raises(UserError, match=r"holds int4\.onnx, of which its manifest does not know"):
        em.load(copy)


@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_a_precision_that_is_not_loaded_is_not_read(copy, lines, precision):
    """Neither is a hundred megabytes hashed for nothing, nor need the file be there."""
    other = {"int8": "float32", "float32": "int8"}[precision]
    expected = em.load(copy, precision=precision).translate(lines[:2])
    (copy / f"{other}.onnx").unlink()
    assert em.load(copy, precision=precision).translate(lines[:2]) == expected


def test_a_foreign_vocabulary_is_refused(copy):
    for fingerprints in (manifest_of(copy)["fingerprints"] | {"vocabulary": "0" * 16}, {}):
        edit_manifest(copy, fingerprints=fingerprints)
        with pytest.raises(UserError, match="not the vocabulary"):
            em.load(copy)


def test_a_finished_export_is_kept(workdir, folder, capsys):
    before = manifest_of(folder)
    assert "another --output" in error_of(capsys, "export", f"--workdir={workdir}")
    assert manifest_of(folder) == before


def test_a_graph_that_does_something_else_is_no_export(workdir, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(make, "LEAST_IDENTICAL", 1.01)
    said = error_of(capsys, "export", f"--workdir={workdir}", f"--output={tmp_path / 'out'}")
    assert "24 of 24" in said and not (tmp_path / "out" / "MANIFEST.json").exists()


def test_int8_that_loses_quality_is_not_the_default(workdir, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(make, "LOSS", -1.0)  # nothing is that good
    code, said = run("export", f"--workdir={workdir}", f"--output={tmp_path / 'out'}", capsys=capsys)
    assert code == 0 and "int8 loses" in said.err
    assert manifest_of(tmp_path / "out")["options"]["precision"] == "float32"


def test_parity_counts_equal_sentences():
    sample = Sample(None, ["a b c d", "e f g h"])
    trained = Outputs([[4], [5]], ["a b c d", "e f g h"])
    other = Outputs([[4], [6]], ["a b c d", "e f g i"])
    found = parity(trained, {"int8": other}, sample, Scoring())
    assert found["trained"] == {"identical": 2, "bleu": pytest.approx(100)}
    assert found["int8"]["identical"] == 1 and loses(found, "int8") == pytest.approx(
        100 - found["int8"]["bleu"]
    )


def test_batches_are_of_like_length_and_hold_each_row_once():
    lengths = np.array([3, 9, 1, 9, 4, 30, 2])
    found = batches(lengths, 20)
    assert sorted(itertools.chain(*found)) == list(range(7))
    assert all(len(rows) == 1 or len(rows) * lengths[rows].max() <= 20 for rows in found)
    assert [lengths[rows].max() for rows in found] == [30, 9, 4]
    assert max(map(len, found)) == 4 and max(map(len, batches(lengths, 20, most=3))) == 3


def test_a_folder_of_another_format_is_not_filled(workdir, tmp_path, capsys):
    """As an export that was killed leaves it: its files would count as those of the next one."""
    (tmp_path / "parameters.npz").write_bytes(b"")
    error = error_of(capsys, "export", f"--workdir={workdir}", f"--output={tmp_path}")
    assert "parameters.npz" in error and "--output" in error
    assert [path.name for path in tmp_path.iterdir()] == ["parameters.npz"]
