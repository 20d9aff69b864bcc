"""One list of a frozen teacher for all E-steps, and the control beside them."""

import dataclasses

import numpy as np
import pytest

from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.config import SelectConfig
from emnat_jax.inference.distill import add_score_columns, distill
from tests.em.runs import round_model, run_em, small_config, workspace
from tests.quick import quick


@pytest.mark.slow
def test_a_student_whose_e_steps_choose_the_first_is_its_control(tmp_path):
    """One list for all rounds; whatever a control is given to learn is what a choice of the first is."""
    frozen = {"student_data": "selected", "update_teacher": False, "rounds": 2}
    config = dataclasses.replace(
        small_config(**frozen), select=SelectConfig(rule="teacher_top1", include_reference=False)
    )
    report = run_em(tmp_path / "run", config)
    for found in report["rounds"][1:]:
        assert found["student"]["training"] == found["control"]["training"]
        assert found["student"]["test"] == found["control"]["test"]
    assert report["rounds"][1]["student"]["training"] != report["rounds"][2]["student"]["training"]
    over = [effect for effect in report["effects"] if effect["over"] == "control"]
    assert [(effect["system"], effect["after"] - effect["before"]) for effect in over] == [("student", 0.0)]
    first = {row.row: row.targets[0] for row in read_dataset(tmp_path / "run/rounds/0/n_best")}
    for index in (0, 1):
        for row in read_dataset(tmp_path / f"run/rounds/{index}/candidates"):
            np.testing.assert_array_equal(row.targets[0], first[row.row])
            np.testing.assert_array_equal(row.scores["teacher0_log_prob"], row.scores["teacher_log_prob"])


@pytest.mark.parametrize("include_reference", quick([False, True], [True]))
def test_what_a_student_adds_to_a_list_is_what_both_propose_together(include_reference, finished, tmp_path):
    """A frozen teacher's list is searched for once, and the students of all rounds add to it."""
    directory, _ = finished
    work = workspace(directory)
    teacher, student = (round_model(work, 0, role) for role in ("teacher", "student"))
    shared = {
        "num_candidates": 2,
        "include_reference": include_reference,
        "vocabulary": work.vocabulary,
    }
    source, scorers = directory / "data/valid", {"student_log_prob": student}
    distill([teacher], source, tmp_path / "list", **shared)
    distill([student], tmp_path / "list", tmp_path / "extended", extends=True, scorers=scorers, **shared)
    distill([teacher, student], source, tmp_path / "both", scorers=scorers, **shared)
    extended, both = (list(read_dataset(tmp_path / name)) for name in ("extended", "both"))
    assert any(1 in row.scores["proposer"] for row in both)
    assert include_reference == any(1 in row.scores.get("from_reference", ()) for row in both)
    for ours, theirs in zip(extended, both, strict=True):
        assert [target.tolist() for target in ours.targets] == [target.tolist() for target in theirs.targets]
        assert ours.scores.keys() == theirs.scores.keys()
        for name, column in ours.scores.items():
            np.testing.assert_allclose(column, theirs.scores[name], rtol=1e-5)


def test_a_reference_joins_a_list_when_it_is_scored(finished, tmp_path):
    """The list is searched for without it; the first teacher, whose scores the list has, scores it alone."""
    directory, _ = finished
    work = workspace(directory)
    teacher, student = (round_model(work, 0, role) for role in ("teacher", "student"))
    source, shared = directory / "data/valid", {"vocabulary": work.vocabulary}
    distill([teacher], source, tmp_path / "list", num_candidates=2, **shared)
    made = add_score_columns(
        tmp_path / "list",
        tmp_path / "scored",
        {"student_log_prob": student},
        copies={"teacher0_log_prob": "teacher_log_prob"},
        references={"teacher0_log_prob": teacher},
        **shared,
    )
    assert made.kind == "candidates" and made.options["include_reference"] is True
    models = {"student_log_prob": student, "teacher0_log_prob": teacher}
    distill(
        [teacher],
        source,
        tmp_path / "whole",
        num_candidates=2,
        include_reference=True,
        scorers=models,
        **shared,
    )
    scored, whole = (list(read_dataset(tmp_path / name)) for name in ("scored", "whole"))
    references = [row.scores["from_reference"].sum() for row in scored]
    assert sum(references) > 0 and {*references} <= {0.0, 1.0}
    for ours, theirs in zip(scored, whole, strict=True):
        assert [target.tolist() for target in ours.targets] == [target.tolist() for target in theirs.targets]
        assert ours.scores.keys() == theirs.scores.keys()
        for name, column in ours.scores.items():
            np.testing.assert_allclose(column, theirs.scores[name], rtol=1e-4, atol=1e-4)
