"""The programs that a plan needs. That they compile is tested in test_aot.py."""

import dataclasses

import jax
import pytest

from emnat_jax.config import Config, EMConfig
from emnat_jax.profiling.aot import CHIPS
from emnat_jax.profiling.round import Slice, round_programs
from emnat_jax.runtime.mesh import make_layout


def _steps(config=Config(), **em):
    config = dataclasses.replace(config, em=EMConfig(**em))
    there = Slice(next(iter(CHIPS.values())), 1, 1, make_layout(config.mesh, jax.devices()[:1]))
    return round_programs(config, 100, there)


def test_what_an_evaluation_runs_is_compiled_too():
    names = set(_steps())
    assert {
        "loss of ar",
        "loss of ctc",
        "alternatives of ctc",
        "3 of ctc rescored with ar",
    } <= names


def test_rows_are_chosen_by_the_memory_of_a_chip():
    """Unless they are given."""
    small = next(iter(CHIPS.values()))._replace(hbm_bytes=4e6)
    there = Slice(small, 1, 1, make_layout(Config().mesh, jax.devices()[:1]))
    given = dataclasses.replace(Config(), data=dataclasses.replace(Config().data, decode_rows=256))
    chosen, fixed = (
        round_programs(config, 100, there)["decode with ctc"].make().pairs for config in (Config(), given)
    )
    assert 1 <= chosen < fixed == 256


@pytest.mark.parametrize(
    "em, proposing, scored",
    [
        ({}, ["4 candidates of ar"], 5),  # and the reference
        ({"candidates_from": ("teacher", "student")}, ["4 candidates of ar", "4 candidates of ctc"], 9),
        (
            {"candidates_from": ("student",), "update_teacher": False, "student_data": "selected"},
            ["4 candidates of ctc"],
            5,
        ),
        ({"rounds": 0}, ["4 candidates of ar"], 1),
        ({"rounds": 0, "update_teacher": True, "student_data": "distilled"}, [], 1),
        ({"rounds": 0, "student_data": "candidates"}, ["4 candidates of ar"], 5),
    ],
)
def test_lists_are_counted_for_the_models_that_make_them(em, proposing, scored):
    steps = _steps(**em)
    assert [name for name in steps if "candidates of" in name] == proposing
    assert steps["score with ctc"].targets == scored


@pytest.mark.parametrize("proposers", [("teacher",), ("teacher", "student")])
def test_samples_are_one_more_program_of_the_teacher(proposers):
    plain, drawn = (_steps(candidates_from=proposers, samples=count) for count in (0, 3))
    assert drawn.keys() - plain.keys() == {"3 samples of ar"} and plain.keys() <= drawn.keys()
    assert drawn["score with ctc"].targets == plain["score with ctc"].targets + 3
    assert drawn["3 samples of ar"].make().lower().as_text()


def test_a_training_has_batches_of_its_own_where_it_asks():
    config = Config()  # buckets of 12 and 24
    data = dataclasses.replace(config.data, batch_tokens=960)
    student = dataclasses.replace(config.student_train, batch_tokens=1_920)
    steps = _steps(dataclasses.replace(config, data=data, student_train=student))
    assert (steps["train ar"].make().pairs, steps["train ctc"].make().pairs) == (40, 80)
