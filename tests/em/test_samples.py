"""Candidates that are drawn from the teacher, after its best."""

import dataclasses
import json

import numpy as np
import pytest

from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.artifacts.manifest import load_manifest
from emnat_jax.config import EMConfig, MeshConfig
from emnat_jax.em.plan import make_plan
from emnat_jax.em.signature import signatures
from emnat_jax.em.stages.candidates import Candidates
from emnat_jax.em.stages.n_best import NBest
from emnat_jax.errors import UserError
from emnat_jax.inference.distill import distill
from emnat_jax.inference.sentences import sentence_pairs
from tests.cli.commands import error_of, run
from tests.em.runs import round_model, small_config, workspace


def texts(work, row) -> list[str]:
    return [work.vocabulary.decode(target) for target in row.targets]


@pytest.fixture(scope="module")
def lists(finished, tmp_path_factory):
    """The stage's list of one best and 8 draws of the finished run's teacher."""
    work, output = workspace(finished[0]), tmp_path_factory.mktemp("lists") / "n_best"
    stage = NBest(str(output), 0, "data/train", "rounds/0/teacher")
    options = stage.options(small_config(candidates=1, samples=8, temperature=2.0))
    stage.run(options, work.context)
    return output, options


def test_a_list_has_the_best_and_after_it_different_draws(finished, lists):
    work = workspace(finished[0])
    rows, best = list(read_dataset(lists[0])), list(read_dataset(finished[0] / "rounds/0/distilled"))[:80]
    assert [row.row for row in rows] == list(range(80))
    assert max(len(row.targets) for row in rows) > 4
    for row, alone in zip(rows, best, strict=True):
        found = texts(work, row)
        assert len({*found}) == len(found) <= 9
        assert found[0] == texts(work, alone)[0]
        assert (np.diff(row.scores["teacher_log_prob"][1:]) <= 0).all()


def test_all_candidates_have_the_teachers_own_log_prob(finished, lists):
    rows = list(read_dataset(lists[0]))
    pairs = [(row.source, target) for row in rows for target in row.targets]
    expected = round_model(workspace(finished[0]), 0, "teacher").score_pairs(sentence_pairs(*zip(*pairs)))
    found = np.concatenate([row.scores["teacher_log_prob"] for row in rows])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert all(row.scores.keys() == {"teacher_log_prob"} for row in rows)


def test_the_manifest_says_how_they_were_drawn(lists):
    manifest = load_manifest(lists[0])
    assert manifest.kind == "candidates"
    decoding = manifest.options["decoding"]
    assert (decoding["samples"], decoding["temperature"], decoding["seed"]) == (8, 2.0, small_config().seed)


def test_equal_sources_have_equal_draws_however_batches_are_cut(finished, lists):
    """With other batches, on other rows, and with weights that are spread over the devices."""
    config = small_config()
    data = dataclasses.replace(config.data, decode_rows=8)
    work = workspace(finished[0], dataclasses.replace(config, data=data, mesh=MeshConfig(fsdp=4)))
    teacher = round_model(work, 0, "teacher")
    rows = list(read_dataset(lists[0]))[40:50]
    found = teacher.sampling(2.0, small_config().seed).decode(sentence_pairs([row.source for row in rows]), 8)
    for row, drawn in zip(rows, found, strict=True):
        assert {*map(work.vocabulary.decode, drawn.tokens)} | {texts(work, row)[0]} == {*texts(work, row)}


def test_the_teacher_draws_and_the_student_does_not(finished, tmp_path):
    """Both propose; what the teacher drew stands with its own, and before the student's."""
    work = workspace(finished[0])
    models = [round_model(work, 0, role) for role in ("teacher", "student")]
    shared = {"num_candidates": 1, "vocabulary": work.vocabulary, "samples": 6}
    distill(models, finished[0] / "data/valid", tmp_path / "both", **shared)
    distill(models[:1], finished[0] / "data/valid", tmp_path / "one", **shared)
    both, one = (list(read_dataset(tmp_path / name)) for name in ("both", "one"))
    assert any(1 in row.scores["proposer"] for row in both)
    for ours, teachers in zip(both, one, strict=True):
        proposers = ours.scores["proposer"].tolist()
        assert proposers == sorted(proposers) and proposers.count(1) <= 1
        assert texts(work, ours)[: proposers.count(0)] == texts(work, teachers)


def test_samples_of_a_student_are_refused(finished, tmp_path):
    work = workspace(finished[0])
    student = round_model(work, 0, "student")
    shared = {"num_candidates": 1, "vocabulary": work.vocabulary, "samples": 3}
    with pytest.raises(UserError, match="vanilla draws none"):
        distill([student], finished[0] / "data/valid", tmp_path / "set", **shared)
    assert not (tmp_path / "set").exists()


def test_samples_count_among_the_candidates_of_a_source():
    config = small_config(samples=3)
    stages = {stage.output: stage for stage in make_plan(config)}
    assert stages["rounds/0/candidates"].options(config).targets == 5
    learned = small_config(samples=3, student_data="candidates", update_teacher=False, rows=None)
    assert {stage.targets for stage in make_plan(learned) if stage.kind == "train"} == {1, 5}
    both = small_config(samples=3, candidates_from=("teacher", "student"))
    (stage,) = (stage for stage in make_plan(both) if isinstance(stage, Candidates))
    assert stage.options(both).most(2) == 7


def test_only_lists_and_what_is_made_of_them_depend_on_samples():
    plain, drawn = small_config(), small_config(samples=3)
    before, after = (signatures(make_plan(config), config) for config in (plain, drawn))
    assert before.keys() == after.keys()
    same = [output for output in before if before[output] == after[output]]
    first = ("teacher", "distilled", "student", "eval.json")
    assert same == ["data", *(f"rounds/0/{name}" for name in first), "rounds/1/control"]


def test_without_samples_sets_are_as_they_were(finished):
    """Neither the manifest nor the model of a run names what it does not use."""
    for name in ("rounds/0/n_best", "rounds/0/teacher"):
        text = json.dumps(load_manifest(finished[0] / name).options)
        assert "samples" not in text and "temperature" not in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"samples": -1}, "samples=-1: use 0 or more"),
        ({"samples": 2, "temperature": 0.0}, "temperature=0.0: use a positive number"),
        ({"samples": 2, "temperature": -1.0}, "temperature=-1.0: use a positive number"),
        ({"temperature": 0.5}, "temperature=0.5 is that of samples"),
        ({"samples": 2, "candidates_from": ("student",)}, "samples=2 are drawn from the teacher"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, said):
    with pytest.raises(UserError, match=said):
        EMConfig(**options)


def test_the_command_draws_too(finished, tmp_path, capsys):
    work = workspace(finished[0])
    command = ["distill", f"--workdir={finished[0]}", f"--model={finished[0]}/rounds/0/teacher"]
    command += [f"--data={finished[0]}/data/valid", f"--output={tmp_path / 'set'}"]
    assert "--samples=-1: use 0 or more" in error_of(capsys, *command, "--samples=-1")
    assert "--temperature=0.0: use a positive" in error_of(capsys, *command, "--samples=2", "--temperature=0")
    assert "add --samples=N" in error_of(capsys, *command, "--temperature=0.5")
    command.append("--num-candidates=2")
    assert run(*command, "--samples=5", "--temperature=3")[0] == 0
    rows = list(read_dataset(tmp_path / "set"))
    assert 4 < max(len(row.targets) for row in rows) <= 7
    assert all(len({*texts(work, row)}) == len(row.targets) for row in rows)
    for named, other in (("samples", "--samples=4"), ("temperature", "--samples=5")):
        assert f"decoding.{named}" in error_of(capsys, *command, other)
