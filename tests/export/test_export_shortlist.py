"""`emnat export --shortlist`: what it is learned from, what is measured, what is kept."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import emnat_jax as em
from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.artifacts.manifest import load_manifest
from emnat_jax.config import FAMILIES, Config
from emnat_jax.em.export import export_sample
from emnat_jax.em.open_model import open_model
from emnat_jax.em.shortlist import make_shortlist, training_sets
from emnat_jax.em.workdir import Workspace, saved_config
from emnat_jax.evaluation.bleu import corpus_bleu
from emnat_jax.export import make
from emnat_jax.export.folder import open_export
from emnat_jax.export.onnx_student import Student, write_float32
from emnat_jax.export.parity import Sample, outputs
from emnat_jax.export.shortlist import learn_shortlist, random_shortlist
from tests.cli.commands import error_of, run
from tests.export.test_onnx_student import session_of


@pytest.fixture(scope="module")
def folder(workdir):
    """The student with a shortlist."""
    folder = workdir.parent / "with_shortlist"
    assert run("export", f"--workdir={workdir}", "--shortlist=3", f"--output={folder}")[0] == 0
    return folder


@pytest.fixture
def unread(monkeypatch):
    """No shortlist may be learned."""

    def learned(*given):
        raise AssertionError("the training sets were read")

    monkeypatch.setattr("emnat_jax.em.export.make_shortlist", learned)


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


def test_the_manifest_says_what_the_shortlist_costs_apart_from_int8(workdir, folder, tmp_path):
    measured = open_export(folder).about.parity
    assert measured["float32"]["identical"] == measured["sentences"] == 24
    work = opened(workdir)
    model = open_model(work)
    found, _ = make_shortlist(work, model, 3)
    params = jax.tree.map(np.asarray, model.params)
    write_float32(tmp_path / "float32.onnx", Student(model.config, params, work.config.data.buckets), found)
    limited = dataclasses.replace(em.load(folder), session=session_of(tmp_path / "float32.onnx"))
    sample = export_sample(work, 24)
    ours, trained = outputs(limited, sample), outputs(model, sample)
    of_lines = corpus_bleu(ours.lines, [list(sample.references)], work.config.scoring)
    assert measured["shortlist"]["bleu"] == pytest.approx(of_lines)
    same = sum(one == other for one, other in zip(ours.tokens, trained.tokens, strict=True))
    assert measured["shortlist"]["identical"] == same
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
    assert code == 0 and "by the shortlist alone" in said.err
    assert json.loads(said.out)["precision"] == open_export(tmp_path / "out").about.precision == "float32"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--shortlist=0"], "--shortlist=0: use 1 to 3"),
        (["--shortlist=4"], "--shortlist=4: use 1 to 3; with more, the lists of 8 words"),
        (["--shortlist=3", "--role=teacher"], "format onnx, not ctranslate2"),
    ],
)
def test_shortlists_that_cannot_be_are_refused(workdir, tmp_path, capsys, unread, options, says):
    output = tmp_path / "out"
    assert says in error_of(capsys, "export", f"--workdir={workdir}", f"--output={output}", *options)
    assert not (output / "MANIFEST.json").exists()


def test_what_has_no_place_or_no_graph_is_refused_before_text_is_read(
    workdir, folder, tmp_path, capsys, unread, monkeypatch
):
    command = ("export", f"--workdir={workdir}", "--shortlist=3")
    assert "is finished" in error_of(capsys, *command, f"--output={folder}")
    monkeypatch.setitem(FAMILIES, "vanilla", FAMILIES["vanilla"]._replace(graph=None))
    assert "vanilla has no ONNX graph" in error_of(capsys, *command, f"--output={tmp_path / 'out'}")


@pytest.mark.parametrize(
    ("bleu", "kept"),
    [
        ((20.0, 19.0, 18.9, 18.95), "int8"),  # the shortlist loses it, which no output layer wins back
        ((20.0, 19.9, 19.7, 19.85), "float32"),
    ],
)
def test_the_output_layer_stays_in_float_where_that_can_help(workdir, tmp_path, monkeypatch, bleu, kept):
    """BLEU in float32 with the whole vocabulary and with the shortlist, then in int8, whole and in part."""
    found = iter(bleu)
    monkeypatch.setattr(make.Job, "bleu", lambda job, outputs: next(found))
    assert run("export", f"--workdir={workdir}", "--shortlist=3", f"--output={tmp_path / 'out'}")[0] == 0
    arrays = {
        one.name: numpy_helper.to_array(one)
        for one in onnx.load(tmp_path / "out/int8.onnx").graph.initializer
    }
    assert [a.dtype.name for name, a in arrays.items() if name.startswith("output.") and a.ndim == 2] == [
        kept
    ]


@pytest.mark.parametrize(
    ("alone", "int8", "size", "advised"),
    [
        (18.0, 17.5, 80, "; a longer one loses less: --shortlist=6, to another --output"),
        (18.0, 17.5, 40, "; a longer one loses less: --shortlist=5, to another --output"),  # the most
        (18.0, 17.5, 24, ""),  # it is the longest
        (20.0, 19.0, 80, ""),  # int8 loses it
    ],
)
def test_a_longer_one_is_advised_where_it_helps(alone, int8, size, advised):
    model = SimpleNamespace(vocabulary=SimpleNamespace(size=size))
    job = make.Job(model, (), Sample(None, []), Config().scoring, 0, print, random_shortlist(size, 3, seed=0))
    measured = {
        name: {"bleu": bleu} for name, bleu in (("trained", 20), ("shortlist", alone), ("int8", int8))
    }
    said = make._loss(job, measured, "int8")
    without = make._loss(job._replace(shortlist=None), measured, "int8")
    assert said.endswith(f"is the default of this export{advised}") and not without.endswith(".")


def test_folders_that_cannot_be_read_do_not_matter(workdir, tmp_path):
    copy = shutil.copytree(workdir, tmp_path / "run")
    for name, text in (("data/other", "{"), ("another", '{"schema_version": 99}')):
        (copy / name).mkdir()
        (copy / name / "MANIFEST.json").write_text(text)
    found, expected = (training_sets(opened(one), open_model(opened(one))) for one in (copy, workdir))
    assert expected and [one.relative_to(copy) for one in found] == [
        one.relative_to(workdir) for one in expected
    ]


def test_a_benchmark_says_how_an_export_with_a_shortlist_is_named(workdir, folder, tmp_path, capsys):
    copy = shutil.copytree(workdir, tmp_path / "run", ignore=shutil.ignore_patterns("exports"))
    shutil.copytree(folder, copy / "exports/student")
    command = ("benchmark", "latency", f"--workdir={copy}", "--batch=1", "--sentences=1")
    said = error_of(capsys, *command, "--systems=student:onnx:int8")
    assert "exported with --shortlist=3; name student:onnx:int8:shortlist=3, name it by" in said
    assert run(*command, "--systems=student:onnx:float32")[0] == 0  # has the whole vocabulary
    shutil.copytree(workdir / "exports/student", copy / "exports/student-shortlist=3")
    said = error_of(capsys, *command, "--systems=student:onnx:int8:shortlist=3")
    assert "exported without a shortlist; name it by its folder, or delete it" in said
