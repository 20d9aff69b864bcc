"""An exported teacher in place of the trained one: lines, and distilled sets."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import emnat_jax as em
from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.artifacts.manifest import load_manifest
from emnat_jax.data.vocab import Vocabulary
from emnat_jax.errors import UserError
from emnat_jax.export.ctranslate2_runtime import CTranslate2Translator
from emnat_jax.export.load import load_exported
from emnat_jax.inference.distill import distill as distill_set
from tests.cli.commands import error_of, run
from tests.export.teachers import TOLERANCE


@pytest.fixture(scope="module")
def teacher(workdir, tmp_path_factory) -> Path:
    """The exported teacher of a workdir."""
    folder = tmp_path_factory.mktemp("teacher") / "exported"
    asked = [f"--workdir={workdir}", "--role=teacher", "--round=0", f"--output={folder}"]
    assert run("export", *asked)[0] == 0
    return folder


def test_lines_are_translated_listed_and_scored_as_by_the_trained_model(workdir, teacher):
    trained, exported = em.load(workdir, role="teacher", round=0), em.load(teacher, precision="float32")
    rows = list(read_dataset(workdir / "data" / "test"))
    sources, targets = [row.source_text for row in rows], [row.target_text for row in rows]
    assert exported.translate([*sources, ""]) == trained.translate([*sources, ""])
    np.testing.assert_allclose(
        exported.score(sources, targets), trained.score(sources, targets), atol=TOLERANCE
    )
    for ours in exported.n_best(sources, 3):
        assert len({one.text for one in ours}) == len(ours) == 3


def distill(workdir: Path, model: Path, output: Path, *more: str) -> int:
    options = [f"--workdir={workdir}", f"--model={model}", f"--output={output}", *more]
    return run("distill", *options)[0]


def test_distilling_through_it_gives_what_the_trained_model_gives(workdir, teacher, tmp_path):
    trained = workdir / "rounds" / "0" / "teacher"
    assert distill(workdir, trained, tmp_path / "jax") == 0
    assert distill(workdir, teacher, tmp_path / "exported", "--precision=float32", "--threads=1") == 0
    ours, theirs = (list(read_dataset(tmp_path / name)) for name in ("exported", "jax"))
    assert [row.targets[0].tolist() for row in ours] == [row.targets[0].tolist() for row in theirs]
    scores = [[row.scores["teacher_log_prob"][0] for row in rows] for rows in (ours, theirs)]
    np.testing.assert_allclose(*scores, atol=TOLERANCE)


def test_a_set_says_what_made_it(workdir, teacher, tmp_path, capsys):
    asked = [tmp_path / "set", "--num-candidates=2"]
    assert distill(workdir, teacher, *asked, "--precision=int8") == 0
    manifest = load_manifest(tmp_path / "set")
    assert manifest.fingerprints["model"] == load_exported(teacher).fingerprint
    assert manifest.fingerprints["model"] == em.load(workdir, role="teacher", round=0).fingerprint
    decoding = manifest.options["decoding"]
    assert (decoding["backend"], decoding["precision"], decoding["family"]) == ("ctranslate2", "int8", "ar")
    command = ["distill", f"--workdir={workdir}", f"--output={asked[0]}", asked[1]]
    said = error_of(capsys, *command, f"--model={teacher}", "--precision=float32")
    assert "decoding.precision" in said
    assert "decoding.backend" in error_of(capsys, *command, f"--model={workdir}/rounds/0/teacher")


def test_a_killed_set_goes_on_with_its_finished_shards(workdir, teacher, tmp_path, monkeypatch):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert distill(workdir, teacher, whole) == 0
    decode, calls = CTranslate2Translator.decode, []

    def counted(self, pairs, num_candidates=1):
        calls.append(pairs.size)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return decode(self, pairs, num_candidates)

    monkeypatch.setattr(CTranslate2Translator, "decode", counted)
    assert distill(workdir, teacher, cut) != 0
    assert not (cut / "MANIFEST.json").exists()
    assert distill(workdir, teacher, cut) == 0
    assert [size > 0 for size in calls] == [True, True, False, True]  # two shards
    made = [json.loads((folder / "MANIFEST.json").read_text()) for folder in (whole, cut)]
    assert made[0]["content_hash"] == made[1]["content_hash"]


def test_a_student_distils_without_scores(workdir, tmp_path, capsys):
    student = workdir / "exports" / "student"
    assert distill(workdir, student, tmp_path / "set") == 0
    rows = list(read_dataset(tmp_path / "set"))
    assert rows and all(row.scores == {} for row in rows)
    command = ["distill", f"--workdir={workdir}", f"--model={student}", f"--output={tmp_path / 'more'}"]
    assert "the best translation alone" in error_of(capsys, *command, "--num-candidates=2")


def test_options_and_vocabularies_that_do_not_fit_are_refused(workdir, teacher, tmp_path, capsys):
    command = ["distill", f"--workdir={workdir}", f"--output={tmp_path / 'set'}"]
    trained = f"--model={workdir}/rounds/0/teacher"
    assert "exported models" in error_of(capsys, *command, trained, "--precision=int8")
    assert "draws no samples" in error_of(capsys, *command, f"--model={teacher}", "--samples=2")
    assert "threads=-1" in error_of(capsys, *command, f"--model={teacher}", "--threads=-1")
    damaged = shutil.copytree(teacher, tmp_path / "damaged")
    (damaged / "model.bin").write_bytes(b"")
    assert "model.bin" in error_of(capsys, *command, f"--model={damaged}")


def test_a_set_of_another_vocabulary_is_refused(workdir, teacher, tmp_path):
    exported = load_exported(teacher)
    other = Vocabulary((workdir / "vocab" / "model").read_bytes())
    other.fingerprint = "0" * 16
    foreign = dataclasses.replace(exported, exported=exported.exported._replace(vocabulary=other))
    data, made = workdir / "data" / "train", tmp_path / "set"
    with pytest.raises(UserError, match="another vocabulary"):
        distill_set([foreign], data, made, num_candidates=1, vocabulary=exported.vocabulary)
    assert not made.exists()
