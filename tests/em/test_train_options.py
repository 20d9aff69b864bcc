"""What a training of a round is made with."""

import dataclasses

import pytest

from emnat_jax.config import CTCOptions, GLATOptions
from emnat_jax.em.train_options import training_options
from tests.em.runs import small_config

GLANCING = GLATOptions(base="ctc", base_options=CTCOptions(beam=7), start_ratio=0.6, end_ratio=0.2)


def options_of(index, **em):
    config = small_config(**em)
    student = dataclasses.replace(config.student, family="glat", options=GLANCING)
    return training_options(dataclasses.replace(config, student=student), "student", index).model.options


@pytest.mark.parametrize(("index", "warm_start"), [(0, True), (1, False)])
def test_a_fresh_training_begins_to_glance_anew(index, warm_start):
    assert options_of(index, warm_start=warm_start) == GLANCING


@pytest.mark.parametrize("index", [1, 2])
def test_a_round_that_starts_warm_stays_at_the_last_ratio(index):
    """The rest of the options stay, those of the base too."""
    assert options_of(index, rounds=2) == dataclasses.replace(GLANCING, start_ratio=0.2)


def test_other_families_go_on_as_they_began():
    config = small_config()
    for role in ("teacher", "student"):
        first, later = (training_options(config, role, index).model for index in (0, 1))
        assert first.family_options == later.family_options


@pytest.mark.parametrize("ratio, steps, warmup", [(0.5, 20, 5), (1.0, 40, 10), (2.0, 80, 10), (0.001, 1, 1)])
def test_a_later_round_has_steps_and_rate_of_its_own_and_no_longer_warm_up(ratio, steps, warmup):
    new = {"later_optimizer": "new"}
    config = small_config(later_steps_ratio=ratio, later_lr_ratio=0.3, **new)  # 40 steps, 10 of warm-up
    first, later = (training_options(config, "student", index).train for index in (0, 1))
    assert (first.steps, first.optim.warmup_steps) == (40, 10)
    assert (later.steps, later.optim.warmup_steps) == (steps, warmup)
    assert later.optim.peak_lr == pytest.approx(0.3 * first.optim.peak_lr)
    fresh = small_config(later_steps_ratio=ratio, warm_start=False)
    assert training_options(fresh, "student", 1).train == first


def test_a_round_that_continues_keeps_the_warm_up_it_had():
    """It is past it; the place in the schedule is counted from there."""
    first, later = (training_options(small_config(later_steps_ratio=0.5), "student", i) for i in (0, 1))
    assert (first.continues, later.continues) == (None, True)
    assert later.train.optim.warmup_steps == first.train.optim.warmup_steps
    for other in (small_config(later_optimizer="new"), small_config(warm_start=False)):
        assert training_options(other, "student", 1).continues is None
