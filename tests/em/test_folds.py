"""Cross-fitting: each row is scored by a student that has not learned from it."""

import dataclasses
import json

import numpy as np
import pytest
from etils import epath

from emnat_jax.artifacts.dataset import Provenance, describe_shard, finish_dataset, read_dataset
from emnat_jax.artifacts.manifest import load_manifest
from emnat_jax.artifacts.records import Row, shard_name, write_shard
from emnat_jax.cli.configuration import read_config
from emnat_jax.config.convert import to_dict
from emnat_jax.data.example_index import EXAMPLE, without
from emnat_jax.data.folds import Fold
from emnat_jax.data.stored_sets import StoredSet
from emnat_jax.em.plan import make_plan
from emnat_jax.em.resume import describe, keep_config
from emnat_jax.em.signature import signatures
from emnat_jax.em.stages.begun import begin
from emnat_jax.em.train_model import _open_examples
from emnat_jax.em.train_options import training_options
from emnat_jax.errors import UserError
from emnat_jax.inference.distill import add_fold_scores
from emnat_jax.inference.model import TrainedModel
from emnat_jax.inference.sentences import sentence_pairs
from emnat_jax.runtime.processes import Processes
from emnat_jax.sweep.sharing import common_stages
from emnat_jax.types import EOS
from tests.em.runs import round_model, run_em, small_config, workspace

FROZEN = {"student_data": "selected", "update_teacher": False}


def row(number: int, target: int = 5, count: int = 1) -> Row:
    targets = [np.array([target + i, EOS], np.int32) for i in range(count)]
    return Row(number, np.array([4, EOS], np.int32), targets, "", "")


@pytest.mark.parametrize("em", [FROZEN, {"student_data": "distilled"}])
def test_the_students_of_the_folds_stand_before_each_e_step(em):
    plan = make_plan(small_config(rounds=2, folds=2, **em))
    stages = {stage.output: stage for stage in plan}
    order = list(stages)
    folds = {output: stage for output, stage in stages.items() if "/fold_" in output}
    assert list(folds) == [f"rounds/{index}/fold_{fold}" for index in (0, 1) for fold in (0, 1)]
    for index in (0, 1):
        like = stages[f"rounds/{index}/student"]
        for fold in (0, 1):
            name = f"fold_{fold}"
            start = "rounds/0/teacher" if index == 0 else f"rounds/{index - 1}/{name}"
            changes = {"output": f"rounds/{index}/{name}", "start": start, "left_out": Fold(fold, 2)}
            assert folds[f"rounds/{index}/{name}"] == dataclasses.replace(like, **changes)
        score = stages[f"rounds/{index}/candidates"]
        read = {name: path for name, path in score.inputs().items() if name.startswith("student")}
        assert read == {f"student_fold_{fold}": f"rounds/{index}/fold_{fold}" for fold in (0, 1)}
        places = [order.index(f"rounds/{index}/{name}") for name in ("eval.json", "fold_0", "candidates")]
        assert places == sorted(places)  # a rule that ends the rounds saves these trainings
    cold = make_plan(small_config(rounds=2, folds=2, warm_start=False, share_encoder=False, **em))
    assert {stage.start for stage in cold if "/fold_" in stage.output} == {None}


@pytest.mark.parametrize("em", [FROZEN, {"student_data": "distilled"}])
def test_the_other_stages_are_those_of_a_run_without_folds(em):
    """So that two runs share them; only what the scores of the candidates decide is another."""
    plain, crossed = small_config(**em), small_config(folds=2, **em)
    assert not any("fold" in stage.output for stage in make_plan(plain))
    before, after = (signatures(make_plan(config), config) for config in (plain, crossed))
    outputs = list(before)
    first = outputs.index("rounds/0/candidates")
    assert [name for name in after if "fold" not in name] == outputs
    assert all(before[name] == after[name] for name in outputs[:first])
    same = [name for name in outputs[first:] if before[name] == after[name]]
    assert same == ["rounds/1/control"]
    assert [stage.output for stage in common_stages(crossed, small_config(folds=3, **em))][:first] == outputs[
        :first
    ]
    assert len({after[name] for name in after if "fold" in name}) == 2


@pytest.mark.parametrize("number", ["0", "-1"])
def test_there_is_one_fold_at_least(number):
    with pytest.raises(UserError, match=rf"^em\.folds={number}: use a positive number"):
        read_config([f"--config.em.folds={number}"])


@pytest.mark.parametrize(
    "words",
    [
        ("student_data=raw", "update_teacher=True"),
        ("student_data=candidates",),
        ("candidates_from=teacher,student",),
        ("candidates_from=student", "student_data=selected", "update_teacher=False"),
    ],
)
def test_students_that_cannot_be_crossed_are_refused_and_the_advice_helps(words):
    given = [f"--config.em.{word}" for word in (*words, "folds=2")]
    read_config(given[:-1])
    with pytest.raises(UserError, match=r"^em\.folds=2 .*em\.student_data=selected") as caught:
        read_config(given)
    assert "em.candidates_from=('teacher',)" in str(caught.value)
    read_config([*given, "--config.em.candidates_from=('teacher',)", "--config.em.student_data=selected"])


def test_a_fold_that_would_be_empty_is_refused():
    with pytest.raises(UserError, match=r"^em\.folds=11: use at most em\.rows=10"):
        read_config(["--config.em.rows=10", "--config.em.folds=11"])
    read_config(["--config.em.rows=10", "--config.em.folds=10"])
    for numbers in ((0, 3, 6), (1, 4)):  # none is in fold 1, or all are
        examples = np.zeros(len(numbers), EXAMPLE)
        examples["row"] = numbers
        with pytest.raises(UserError, match=r"^em\.folds=3: \d of \d rows .* use fewer folds"):
            list(without([examples], Fold(1, 3), print))


def test_a_training_leaves_out_its_fold_of_data_and_base_alike(tmp_path):
    """And none of the sources that have no line in the corpus."""
    rows = {
        "source": [row(number, target=10) for number in (0, 1, 2)],
        "base": [row(number, target=20) for number in range(6)],
        "mono": [row(number, target=30) for number in (6, 7)],
    }
    sets = {}
    for name, made in rows.items():
        (tmp_path / name).mkdir()
        shard = tmp_path / name / shard_name(0, 1)
        write_shard(shard, made)
        about = Provenance("distilled", {}, {}, 1)
        manifest = finish_dataset(
            tmp_path / name, about, shards=[describe_shard(shard)], rows_in=len(made), dropped={}
        )
        sets[name] = StoredSet(epath.Path(tmp_path / name), manifest)
    options, said = training_options(small_config(), "student"), []

    def learned(fold: Fold | None) -> dict[int, int]:
        without_it = dataclasses.replace(options, left_out=fold)
        with _open_examples(without_it, sets, Processes(), said.append) as examples:
            read = examples.read(np.arange(examples.count))
        return {pair.row: int(pair.target[0]) for (pair,) in read}

    assert learned(None) == {0: 10, 1: 10, 2: 10, 3: 20, 4: 20, 5: 20, 6: 30, 7: 30} and not said
    assert learned(Fold(0, 2)) == {1: 10, 3: 20, 5: 20, 6: 30, 7: 30}
    assert learned(Fold(1, 3)) == {0: 10, 2: 10, 3: 20, 5: 20, 6: 30, 7: 30}
    assert said == [
        "3 rows, fold 0 of 2, are left out",
        "2 rows, fold 1 of 3, are left out",
    ]


class Constant(TrainedModel):
    """Gives every target the same score, and counts its calls."""

    def __init__(self, value: float):
        self.value, self.calls = value, 0

    def score_lists(self, rows) -> list[np.ndarray]:
        self.calls += 1
        return [np.full(len(row.targets), self.value, np.float32) for row in rows]


@pytest.mark.parametrize("numbers", [(), (4,), (1, 3, 4, 5, 9)])
def test_every_model_is_called_once_and_scores_its_fold(numbers):
    models = [Constant(-10.0), Constant(-11.0), Constant(-12.0)]
    found = add_fold_scores([row(number, count=2) for number in numbers], "x", models)
    assert [made.row for made in found] == list(numbers)
    assert [made.scores["x"].tolist() for made in found] == [[-10.0 - n % 3] * 2 for n in numbers]
    assert [model.calls for model in models] == [1, 1, 1]  # all processes call them together


def test_folds_may_be_changed_until_a_list_was_scored(finished, tmp_path):
    directory, _ = finished
    crossed = small_config(folds=2)
    with pytest.raises(UserError, match=r"em\.folds: rounds/0/candidates is finished"):
        keep_config(workspace(directory, crossed))
    lines = describe(directory, crossed).splitlines()
    (line,) = (line for line in lines if "rounds/0/fold_1 " in line)
    assert line.startswith("to do  train") and "start: rounds/0/teacher" in line
    assert "would be refused: em.folds" in lines[-2]


def test_a_training_that_was_begun_goes_on_only_with_its_fold(tmp_path):
    """One of a version without folds has none."""
    model, said = epath.Path(tmp_path / "model"), []
    options = to_dict(training_options(small_config(), "student"))
    of_fold = [{**options, "left_out": to_dict(Fold(0, count))} for count in (2, 3)]
    assert options.pop("left_out") is None
    assert not begin(model, options, said.append, starts_over=False)
    (model / "checkpoints/3").mkdir(parents=True)
    assert not begin(model, {**options, "left_out": None}, said.append, starts_over=False)
    for other in of_fold:
        with pytest.raises(UserError, match=r"other data or options \(em\.folds\), saved after step 3"):
            begin(model, other, said.append, starts_over=False)
        begin(model, other, said.append, starts_over=True)
        (model / "checkpoints/3").mkdir(parents=True)
    assert len(said) == 2


@pytest.mark.slow
def test_each_row_is_scored_by_the_student_that_has_not_seen_it(tmp_path):
    config = small_config(folds=2, **FROZEN)
    report = run_em(tmp_path / "run", config)
    work = workspace(tmp_path / "run", config)
    names = [f"fold_{fold}" for fold in (0, 1)]
    students = [round_model(work, 0, name) for name in names]
    assert not (tmp_path / "run/rounds/1/fold_0").exists()
    lines = [row.row for row in read_dataset(tmp_path / "run/data/train")]
    for fold, name in enumerate(names):
        manifest = load_manifest(tmp_path / "run/rounds/0" / name)
        assert manifest.rows_in == sum(number % 2 != fold for number in lines) == len(lines) / 2
        assert f"rounds/0/{name}" in report["provenance"]
    candidates = tmp_path / "run/rounds/0/candidates"
    fingerprints = load_manifest(candidates).fingerprints
    assert [fingerprints[f"student_log_prob_{name}"] for name in names] == [x.fingerprint for x in students]
    rows = list(read_dataset(candidates))
    flat = [(one.source, target, one.row % 2) for one in rows for target in one.targets]
    sources, targets, folds = zip(*flat)
    by_student = [student.score_pairs(sentence_pairs(sources, targets)) for student in students]
    found = np.concatenate([one.scores["student_log_prob"] for one in rows])
    unseen, seen = np.where(folds, by_student[::-1], by_student)
    np.testing.assert_allclose(found, unseen, rtol=1e-5)
    assert np.mean(np.abs(found - seen) > 1e-2) > 0.9
    trained_from = json.loads((tmp_path / "run/rounds/0/fold_1/TRAINED_FROM.json").read_text())
    assert trained_from["left_out"] == {"index": 1, "count": 2}
    again = run_em(tmp_path / "run", config)
    assert again["provenance"] == report["provenance"]
