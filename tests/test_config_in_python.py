"""Configurations made in Python: changed by the keys of the command line, and checked before a run."""

import dataclasses

import numpy as np
import pytest

from emnat_jax.config import Config, DAGOptions, OptimConfig, TrainConfig, replace
from emnat_jax.config.convert import checked
from emnat_jax.errors import UserError


def test_keys_are_those_of_the_command_line():
    before = Config()
    changes = {"student.family": "dag", "student.dag.factor": 3, "teacher_train.optim.peak_lr": 1, "seed": 7}
    config = replace(before, changes | {"data.buckets": [8, 16]})
    student = dataclasses.replace(before.student, family="dag", options=DAGOptions(factor=3))
    optim = dataclasses.replace(before.teacher_train.optim, peak_lr=1.0)
    teacher_train = dataclasses.replace(before.teacher_train, optim=optim)
    data = dataclasses.replace(before.data, buckets=(8, 16))
    wanted = dataclasses.replace(before, student=student, teacher_train=teacher_train, data=data, seed=7)
    assert config == wanted and type(config.teacher_train.optim.peak_lr) is float
    assert before == Config() and replace(before, {}) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student.famly": "dag"}, "unknown configuration key student.famly; did you mean student.family"),
        ({"student_train.steps": "many"}, "student_train.steps='many': expected a value of type int"),
        ({"student_train": TrainConfig()}, "student_train is a group of options; set them one by one"),
        (
            {"student.family": "dag", "student.ctc.factor": 3},
            "student.ctc.factor: student.family=dag",
        ),
        ({"em.rounds": -1}, "em.rounds=-1: use 0 or more"),
    ],
)
def test_mistakes_are_named_by_their_key(changes, message):
    with pytest.raises(UserError, match=message):
        replace(Config(), changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": {"steps": 2.5}}, "teacher_train.steps=2.5: expected a value of type int"),
        ({"train": {"steps": np.int64(5)}}, r"steps=np.int64\(5\): expected a value of type int"),
        (
            {"optim": {"peak_lr": "1e-3"}},
            "optim.peak_lr='1e-3': expected a value of type float",
        ),
        ({"config": {"em": None}}, "em=None: expected a group of options"),
    ],
)
def test_types_are_looked_at_before_a_run(change, message):
    parts = {"config": Config(teacher_train=TrainConfig(optim=OptimConfig()))}
    parts["train"], parts["optim"] = parts["config"].teacher_train, parts["config"].teacher_train.optim
    for name, values in change.items():
        for option, value in values.items():  # here dataclasses look at types; for a user they do not
            object.__setattr__(parts[name], option, value)
    with pytest.raises(UserError, match=message):
        checked(parts["config"])


def test_what_a_run_takes_is_a_configuration():
    assert checked(Config()) == Config()
    with pytest.raises(UserError, match="config is of type dict; give an emnat_jax.Config"):
        checked({"seed": 1})
