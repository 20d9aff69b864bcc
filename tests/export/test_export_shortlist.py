"""`emnat export --shortlist`: what it is learned from, what is measured, what is kept."""

import json
import shutil

import numpy as np
import onnx
import pytest

import emnat_jax as em
from emnat_jax.artifacts.manifest import load_manifest, read_dataset
from emnat_jax.config import Config
from emnat_jax.em.open_model import open_model
from emnat_jax.em.shortlist import make_shortlist, training_sets
from emnat_jax.em.workdir import Workspace, saved_config
from emnat_jax.export import make
from emnat_jax.export.folder import open_export
from emnat_jax.export.shortlist import learn_shortlist
from tests.cli.commands import error_of, run


@pytest.fixture(scope="module")
def folder(workdir):
    """The student with a shortlist."""
    folder = workdir.parent / "with_shortlist"
    assert run("export", f"--workdir={workdir}", "--shortlist=3", f"--output={folder}")[0] == 0
    return folder


def opened(workdir) -> Workspace:
    return Workspace(saved_config(workdir) or Config(), workdir, log=lambda text: None)


def test_int8_has_the_shortlist_and_float32_the_whole_vocabulary(workdir, folder):
    about = open_export(folder).about
    assert about.shortlist == 3 and open_export(workdir / "exports" / "student").about.shortlist is None
    names = {
        name: {one.name for one in onnx.load(folder / f"{name}.onnx").graph.initializer}
        for name in about.precisions
    }
    assert "shortlist" in names["int8"] and "shortlist" not in names["float32"]
    assert em.load(folder, precision="int8").decoding_options()["shortlist"] == 3
    assert "shortlist" not in em.load(folder, precision="float32").decoding_options()


def test_the_manifest_says_what_the_shortlist_costs_apart_from_int8(workdir, folder):
    measured = open_export(folder).about.parity
    assert measured["float32"]["identical"] == measured["sentences"] == 24
    assert 0 < measured["shortlist"]["identical"] <= 24 and measured["shortlist"]["bleu"] >= 0
    work = opened(workdir)
    found, _ = make_shortlist(work, open_model(work), 3)
    rows = list(read_dataset(workdir / "data/valid"))
    assert measured["shortlist"]["words"] == np.mean([len(found.words(row.source)) for row in rows])


def test_it_is_learned_from_what_the_student_has_learned_from(workdir):
    work = opened(workdir)
    for round in (0, 1):
        student = open_model(work, round=round)
        sets = training_sets(work, student)
        content = [load_manifest(one).content_hash for one in sets]
        assert content == [student.made_of[name] for name in ("source", "base") if name in student.made_of]
        found, named = make_shortlist(work, student, 2)
        assert named == [str(one.relative_to(workdir)) for one in sets]
        rows = {row.row: row for one in reversed(sets) for row in read_dataset(one)}  # the first set's win
        pairs = [(row.source, target) for row in rows.values() for target in row.targets]
        expected = learn_shortlist(pairs, work.vocabulary.size, 2)
        assert (found.by_source == expected.by_source).all() and (found.always == expected.always).all()


def test_without_these_it_is_learned_from_the_training_text_and_says_so(workdir, tmp_path, capsys):
    copy = shutil.copytree(workdir, tmp_path / "run")
    shutil.rmtree(copy / "rounds/1/distilled")
    command = ("export", f"--workdir={copy}", "--shortlist=3", f"--output={tmp_path / 'out'}")
    code, said = run(*command, capsys=capsys)
    assert code == 0 and "a shortlist of 3, learned from data/train" in said.err


def test_one_that_loses_quality_is_not_the_default(workdir, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(make, "LOSS", -1.0)  # nothing is that good
    command = ("export", f"--workdir={workdir}", "--shortlist=3", f"--output={tmp_path / 'out'}", "--json")
    code, said = run(*command, capsys=capsys)
    assert code == 0 and "by the shortlist alone" in said.err and "--shortlist=6" in said.err
    assert json.loads(said.out)["precision"] == open_export(tmp_path / "out").about.precision == "float32"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--shortlist=0"], "--shortlist=0: use 1 or more"),
        (["--shortlist=3", "--role=teacher"], "format onnx, not ctranslate2"),
    ],
)
def test_shortlists_that_cannot_be_are_refused(workdir, tmp_path, capsys, options, says):
    output = tmp_path / "out"
    assert says in error_of(capsys, "export", f"--workdir={workdir}", f"--output={output}", *options)
    assert not (output / "MANIFEST.json").exists()
