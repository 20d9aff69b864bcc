"""Which stages a run has, in which order, and what each starts from."""

import contextlib
import dataclasses
import itertools

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
    assert [(s.output, s.data, s.base, s.targets) for s in students] == [
        ("rounds/0/student", "rounds/0/n_best", "rounds/0/distilled", 2),
        ("rounds/1/student", "rounds/1/n_best", "rounds/0/distilled", 2),
        ("rounds/1/control", "rounds/0/n_best", "rounds/0/distilled", 2),
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
    assert {stage.output: stage.data for stage in trainings(plan, "student")} == {
        "rounds/0/student": "rounds/0/distilled",
        "rounds/1/student": "rounds/0/selected",
        "rounds/1/control": "rounds/0/distilled",
        "rounds/2/student": "rounds/1/selected",
        "rounds/2/control": "rounds/0/distilled",
    }
    kinds = [stage.kind for stage in plan if stage.round == 1]
    assert kinds == ["train", "train", "evaluate", "candidates", "select"]
    with pytest.raises(UserError, match="set rounds=0, update_teacher=True, or student_data=selected"):
        small_config(update_teacher=False)
    with pytest.raises(UserError, match="select.rule=teacher_top1 looks at the teacher's best"):
        dataclasses.replace(config, select=SelectConfig(rule="teacher_top1"))


def test_one_list_of_a_frozen_teacher_serves_every_e_step():
    frozen = {"student_data": "selected", "update_teacher": False, "rounds": 2}
    plan = make_plan(small_config(**frozen, rows=None))
    searches = [stage.output for stage in plan if stage.kind in ("distill", "n_best")]
    assert searches == ["rounds/0/n_best"]
    scored = {stage.output: stage.data for stage in plan if stage.kind == "score"}
    assert scored == {"rounds/0/candidates": "rounds/0/n_best", "rounds/1/candidates": "rounds/0/n_best"}
    config = small_config(**frozen)
    assert all(stage.options(config).has_teacher0 for stage in plan if stage.kind == "score")
    students = {s.output: (s.data, s.base, s.targets) for s in trainings(plan, "student")}
    assert students == {
        "rounds/0/student": ("rounds/0/n_best", None, 1),
        "rounds/1/student": ("rounds/0/selected", None, 1),
        "rounds/1/control": ("rounds/0/n_best", None, 1),
        "rounds/2/student": ("rounds/1/selected", None, 1),
        "rounds/2/control": ("rounds/0/n_best", None, 1),
    }
    # The rows without a list have the teacher's translation.
    partial = make_plan(config)
    assert [s.output for s in partial if s.kind == "distill"] == ["rounds/0/distilled"]
    assert {s.base for s in trainings(partial, "student")} == {"rounds/0/distilled"}


def test_students_add_to_the_one_list_of_a_frozen_teacher():
    both = {"candidates_from": ("teacher", "student"), "student_data": "selected", "update_teacher": False}
    config = small_config(**both, rounds=2, rows=None)
    plan = make_plan(config)
    assert [stage.output for stage in plan if stage.kind == "n_best"] == ["rounds/0/n_best"]
    made = [stage for stage in plan if stage.kind == "candidates"]
    assert [(stage.data, stage.teacher, stage.extends) for stage in made] == [
        ("rounds/0/n_best", None, True)
    ] * 2
    assert {stage.options(config).proposers for stage in made} == {("student",)}


def test_the_e_step_inside_the_loss_takes_what_students_have_added():
    both = {
        "candidates_from": ("teacher", "student"),
        "student_data": "candidates",
        "rounds": 2,
        "rows": None,
    }
    plan = make_plan(small_config(**both, update_teacher=False))
    assert {s.output: (s.data, s.targets) for s in trainings(plan, "student")} == {
        "rounds/0/student": ("rounds/0/n_best", 2),
        "rounds/1/student": ("rounds/0/candidates", 4),
        "rounds/1/control": ("rounds/0/n_best", 2),
        "rounds/2/student": ("rounds/1/candidates", 4),
        "rounds/2/control": ("rounds/0/n_best", 2),
    }
    with pytest.raises(UserError, match="student_data=candidates: set candidates_from"):
        small_config(**both)


def test_the_e_step_inside_the_loss_has_one_list_of_a_frozen_teacher():
    plan = make_plan(small_config(student_data="candidates", update_teacher=False, rounds=2, rows=None))
    assert [stage.output for stage in plan if stage.kind == "n_best"] == ["rounds/0/n_best"]
    assert {stage.data for stage in trainings(plan, "student")} == {"rounds/0/n_best"}


@pytest.mark.parametrize(
    "em",
    [{"student_data": "raw"}, {"student_data": "candidates", "update_teacher": False}, {"control": False}],
)
def test_there_is_no_control_where_it_would_be_the_student_or_is_not_asked_for(em):
    plan = make_plan(small_config(**em))
    assert not any(stage.output.endswith("control") for stage in plan)
    assert all("control" not in stage.inputs() for stage in plan)


def test_each_model_starts_from_the_one_that_the_options_name():
    def starts(**em):
        return {s.output: s.start for s in make_plan(small_config(**em)) if s.kind == "train"}

    assert starts() == {
        "rounds/0/teacher": None,
        "rounds/0/student": "rounds/0/teacher",
        "rounds/1/teacher": "rounds/0/teacher",
        "rounds/1/student": "rounds/0/student",
        "rounds/1/control": "rounds/0/student",
    }
    assert starts(rounds=2)["rounds/2/control"] == "rounds/1/control"
    assert starts(share_encoder=False)["rounds/0/student"] is None
    cold = starts(warm_start=False)
    assert cold["rounds/1/student"] == cold["rounds/1/control"] == "rounds/1/teacher"
    assert cold["rounds/1/teacher"] is None
    frozen = starts(warm_start=False, update_teacher=False, student_data="selected")
    assert frozen["rounds/1/student"] == frozen["rounds/1/control"] == "rounds/0/teacher"
    assert starts(warm_start=False, share_encoder=False)["rounds/1/student"] is None


OPTIONS = {
    "student_data": ("selected", "distilled", "raw", "candidates"),
    "candidates_from": (("teacher",), ("teacher", "student"), ("student",)),
    "update_teacher": (False, True),
    "rows": (None, 4),
    "rounds": (0, 2),
    "folds": (1, 2),
}


def accepted():
    """All configurations of these options that there can be."""
    for values in itertools.product(*OPTIONS.values()):
        with contextlib.suppress(UserError):
            yield small_config(**dict(zip(OPTIONS, values, strict=True)))


def test_every_stage_reads_what_an_earlier_one_has_made():
    plans = [make_plan(config) for config in accepted()]
    assert len(plans) > 40
    for plan in plans:
        made = set()
        for stage in plan:
            assert set(stage.inputs().values()) <= made, stage.output
            made.add(stage.output)
        assert len(made) == len(plan)


def test_a_frozen_teacher_and_the_corpus_leave_no_one_to_learn_the_choices():
    frozen = {"student_data": "raw", "update_teacher": False}
    with pytest.raises(UserError, match="student_data=raw: with a frozen teacher no model learns"):
        small_config(**frozen)
    kinds = [stage.kind for stage in make_plan(small_config(**frozen, rounds=0))]
    assert kinds == ["prepare", "train", "train", "evaluate"]


@pytest.mark.parametrize("student_data", ["selected", "candidates"])
def test_the_reference_is_in_the_list_where_students_learn_lists(student_data):
    """Else it joins when the list is scored, so that runs with and without it share the search."""
    config = small_config(student_data=student_data, update_teacher=False, rows=None)
    config = dataclasses.replace(config, select=dataclasses.replace(config.select, include_reference=True))
    stages = {stage.kind: stage.options(config) for stage in make_plan(config)}
    in_list = student_data == "candidates"
    assert stages["n_best"].include_reference == in_list
    assert stages["score"].adds_reference == stages["score"].has_teacher0 == (not in_list)
    assert stages["score"].targets == config.em.candidates + 1
