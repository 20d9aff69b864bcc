"""Runs that go on with the optimiser's state of a finished one."""

import dataclasses

import pytest

from emnat_jax.errors import UserError
from emnat_jax.training.optimizer import make_schedule
from emnat_jax.training.run import Position
from tests import tiny_family
from tests.training import runs


def stream_after(steps):
    stream = tiny_family.Stream()
    for _ in range(steps):
        next(stream)
    return stream


def test_a_run_that_continues_another_ends_as_one_of_all_steps(tmp_path):
    """Weights, moments, average, randomness and learning rate, in one run and in one that is resumed."""
    directory, whole = tmp_path / "whole", runs.train(tmp_path / "whole")
    first = runs.train(tmp_path / "first", runs.with_config(steps=3))
    later, options = runs.with_config(steps=5), {"continues": Position(tmp_path / "first", 3)}
    second = runs.train(tmp_path / "second", later, stream=stream_after(3), **options)
    assert second.step == 5
    assert second.fingerprint == whole.fingerprint != first.fingerprint
    rates = {line["step"]: line["lr"] for line in runs.lines(directory) if "lr" in line}
    more = {3 + line["step"]: line["lr"] for line in runs.lines(tmp_path / "second") if "lr" in line}
    assert rates[6] == more[6] and rates[8] == more[8]
    broken = runs.BreakingStream(3 + 3)
    for _ in range(3):
        next(broken)
    with pytest.raises(runs.Broken):
        runs.train(tmp_path / "broken", later, stream=broken, **options)
    resumed = runs.train(tmp_path / "broken", later, stream=stream_after(3), **options)
    assert resumed.fingerprint == whole.fingerprint


def test_a_run_that_continues_another_has_numbers_of_the_schedule_of_its_own(tmp_path):
    """The cosine goes to its end with the steps of both; the peak may be another."""
    optim = dataclasses.replace(runs.OPTIM, schedule="cosine")
    runs.train(tmp_path / "first", runs.with_config(steps=4, optim=optim))
    optim = dataclasses.replace(optim, peak_lr=0.5 * optim.peak_lr)
    later = runs.with_config(steps=6, optim=optim, log_every=1)
    runs.train(tmp_path / "second", later, continues=Position(tmp_path / "first", 4))
    schedule = make_schedule(optim, 10)
    rates = [line["lr"] for line in runs.lines(tmp_path / "second") if "lr" in line]
    assert rates == [float(schedule(step)) for step in range(4, 10)]


def test_a_run_that_continues_needs_the_checkpoint(tmp_path):
    runs.train(tmp_path / "first", runs.with_config(steps=4))
    with pytest.raises(UserError, match="has lost the checkpoint after step 3"):
        runs.train(tmp_path / "second", continues=Position(tmp_path / "first", 3))
