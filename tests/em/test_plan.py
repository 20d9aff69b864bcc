"""Which stages a run has, in which order, and what each starts from."""

import dataclasses

import pytest

from emnat_jax.config import SelectConfig
from emnat_jax.em.plan import make_plan
from emnat_jax.em.resume import describe
from emnat_jax.errors import UserError
from tests.em.runs import small_config


def trainings(plan, role):
    return [stage for stage in plan if stage.kind == "train" and stage.role == role]


def test_every_stage_of_the_plan_is_finished(finished):
    directory, _ = finished
    stages = make_plan(small_config())
    kinds = [stage.kind for stage in stages]
    assert kinds == ["prepare"] + ["train", "distill", "train", "evaluate", "n_best", "score", "select"] + [
        "train",
        "distill",
        "train",
        "evaluate",
    ]
    lines = describe(directory, small_config()).splitlines()
    assert len(lines) == len(stages) and all(line.startswith("done") for line in lines)


def test_students_learn_from_the_selected_set_when_asked():
    plan = {stage.output: stage for stage in make_plan(small_config(student_data="selected"))}
    assert plan["rounds/0/student"].data == "rounds/0/distilled"
    assert plan["rounds/1/student"].data == "rounds/0/selected"
    assert "rounds/1/distilled" not in plan


def test_students_learn_from_the_candidates_when_asked():
    plan = make_plan(small_config(student_data="candidates"))
    kinds = [stage.kind for stage in plan if stage.round == 0]
    assert kinds == ["train", "distill", "n_best", "train", "evaluate", "score", "select"]
    students = trainings(plan, "student")
    assert [(s.data, s.base, s.targets) for s in students] == [
        ("rounds/0/n_best", "rounds/0/distilled", 2),
        ("rounds/1/n_best", "rounds/0/distilled", 2),
    ]
    whole = make_plan(small_config(student_data="candidates", rows=None))
    assert "distill" not in {stage.kind for stage in whole}


def test_students_learn_from_the_corpus_when_asked():
    plan = make_plan(small_config(student_data="raw"))
    students = trainings(plan, "student")
    assert [(s.data, s.base) for s in students] == [("data/train", None)] * 2
    assert "distill" not in {stage.kind for stage in plan}


def test_lists_of_both_models_are_made_after_the_student():
    plan = make_plan(small_config(candidates_from=("teacher", "student")))
    kinds = [stage.kind for stage in plan if stage.round == 0]
    assert kinds == ["train", "distill", "train", "evaluate", "candidates", "select"]


def test_a_frozen_teacher_is_trained_once():
    config = small_config(
        candidates_from=("student",), student_data="selected", update_teacher=False, rounds=2
    )
    plan = make_plan(config)
    assert [stage.output for stage in trainings(plan, "teacher")] == ["rounds/0/teacher"]
    assert [stage.data for stage in trainings(plan, "student")][1:] == [
        "rounds/0/selected",
        "rounds/1/selected",
    ]
    assert [stage.kind for stage in plan if stage.round == 1] == ["train", "evaluate", "candidates", "select"]
    with pytest.raises(UserError, match="set student_data=selected"):
        small_config(update_teacher=False)
    with pytest.raises(UserError, match="select.rule=teacher_top1 looks at the teacher's best"):
        dataclasses.replace(config, select=SelectConfig(rule="teacher_top1"))


def test_each_model_starts_from_the_one_that_the_options_name():
    def starts(**em):
        return {s.output: s.start for s in make_plan(small_config(**em)) if s.kind == "train"}

    assert starts() == {
        "rounds/0/teacher": None,
        "rounds/0/student": "rounds/0/teacher",
        "rounds/1/teacher": "rounds/0/teacher",
        "rounds/1/student": "rounds/0/student",
    }
    assert starts(share_encoder=False)["rounds/0/student"] is None
    assert starts(warm_start=False)["rounds/1/student"] is None
