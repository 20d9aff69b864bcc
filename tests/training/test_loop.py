"""Whole runs: broken off and resumed, stopped early, warm-started, gone wrong."""

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from emnat_jax.errors import Preempted, UserError
from emnat_jax.training import loop
from emnat_jax.training.fingerprint import fingerprint
from emnat_jax.training.weights import load_params
from emnat_jax.types import EOS, NUM_SPECIAL
from tests import tiny_family
from tests.quick import quick
from tests.training import runs, slow_run

FAMILY = tiny_family.make(rate=0.2)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Directory and result of a run that nothing disturbed."""
    directory = tmp_path_factory.mktemp("unbroken")
    return directory, runs.train(directory)


@pytest.mark.parametrize("steps", [1, 5])
def test_resumed_equals_unbroken_bit_for_bit(tmp_path, unbroken, steps):
    """Broken off before the first checkpoint, and between two log lines after the second."""
    with pytest.raises(runs.Broken):
        runs.train(tmp_path, stream=runs.BreakingStream(steps))
    said = []
    result = runs.train(tmp_path, log=said.append)
    assert any("goes on after step 4" in text for text in said) == (steps == 5)
    assert result.fingerprint == unbroken[1].fingerprint
    assert result.valid_loss == unbroken[1].valid_loss
    assert runs.lines(tmp_path) == runs.lines(unbroken[0])


@pytest.mark.parametrize("step", [0, 6])
def test_told_to_end_before_the_next_step(tmp_path, unbroken, monkeypatch, step):
    """Before the first one; and resumed where it has logged and saved: nothing is done a second time."""
    if step:
        with pytest.raises(runs.Broken):
            runs.train(tmp_path, runs.with_config(log_every=3), stream=runs.BreakingStream(7))
    with monkeypatch.context() as patch:
        patch.setattr(loop.PreemptionGuard, "ends_after", lambda self, found: found == step)
        with pytest.raises(Preempted, match=f"saved after step {step} of 8"):
            runs.train(tmp_path)
    assert runs.train(tmp_path).fingerprint == unbroken[1].fingerprint
    assert runs.lines(tmp_path) == runs.lines(unbroken[0])


class TwoWidths(runs.BreakingStream):
    """Batches of two buckets in turn."""

    def __next__(self):
        return tiny_family.batch(self._left, length=(4, 6)[self._left % 2]) if super().__next__() else None


@pytest.mark.parametrize("accumulate", quick([1, 2], [2]))
def test_a_bucket_is_compiled_once(tmp_path, monkeypatch, accumulate):
    """Also behind a resume: restored arrays, donated states and step numbers bring no new compilation."""
    steps = []
    for name in ("make_train_step", "make_eval_step"):
        make = getattr(loop, name)
        monkeypatch.setattr(loop, name, lambda *a, _make=make, **k: steps.append(_make(*a, **k)) or steps[-1])
    config = runs.with_config(accumulate=accumulate)
    with pytest.raises(runs.Broken):
        runs.train(tmp_path, config, stream=TwoWidths(5), on=runs.layout(2))
    runs.train(tmp_path, config, stream=TwoWidths(20), on=runs.layout(2))
    assert [step._cache_size() for step in steps] == [2, 1, 2, 1]


def test_log_has_every_line_once(unbroken):
    directory, result = unbroken
    rows = runs.lines(directory)
    assert [(row["step"], "valid_loss" in row) for row in rows] == [
        (3, False),
        (4, True),
        (6, False),
        (8, False),
        (8, True),
    ]
    assert rows[-1]["valid_loss"] == result.valid_loss
    assert rows[0]["lr"] == pytest.approx(runs.OPTIM.peak_lr)
    assert {"loss", "grad_norm", "lr"} <= set(rows[0])
    assert list((directory / "tensorboard").iterdir())


def test_log_line_is_the_mean_over_the_tokens_since_the_last(tmp_path, unbroken):
    runs.train(tmp_path, runs.with_config(log_every=1))
    by_step = {row["step"]: row for row in runs.lines(tmp_path) if "loss" in row}
    tokens = {number + 1: (tiny_family.batch(number).target != 0).sum() for number in range(8)}
    for row in runs.lines(unbroken[0]):
        if "loss" in row:
            steps = [step for step in by_step if row["step"] - (row["step"] - 1) % 3 <= step <= row["step"]]
            total = sum(by_step[step]["loss"] * tokens[step] for step in steps)
            assert row["loss"] == pytest.approx(total / sum(tokens[step] for step in steps), rel=1e-6)
            assert row["grad_norm"] == pytest.approx(np.mean([by_step[step]["grad_norm"] for step in steps]))


def test_valid_loss_is_that_of_the_returned_params(unbroken):
    """Exact over rows of all batches: nats a token of p(target | source) under the average."""
    _, result = unbroken
    total = sum(-float(FAMILY.score(result.params, batch).sum()) for batch in runs.VALID)
    tokens = sum((batch.target != 0).sum() for batch in runs.VALID)
    np.testing.assert_allclose(result.valid_loss, total / tokens, rtol=1e-5)


def test_finished_run_returns_at_once(tmp_path, unbroken):
    directory, result = unbroken
    before = runs.lines(directory)
    again = runs.train(directory, stream=runs.BreakingStream(0))
    assert (again.fingerprint, again.step, again.valid_loss) == (result.fingerprint, 8, result.valid_loss)
    assert runs.lines(directory) == before
    assert (
        fingerprint(load_params(directory, FAMILY, runs.layout(4, fsdp=2), result.weights))
        == result.fingerprint
    )


def test_damaged_latest_is_trained_again(tmp_path, unbroken):
    runs.train(tmp_path)
    for path in (tmp_path / "checkpoints" / "8").rglob("*"):
        if path.is_file():
            os.truncate(path, path.stat().st_size // 2)
    said = []
    assert runs.train(tmp_path, log=said.append).fingerprint == unbroken[1].fingerprint
    assert any("damaged" in text for text in said)
    assert runs.lines(tmp_path) == runs.lines(unbroken[0])


def test_goes_on_with_other_devices(tmp_path, unbroken):
    with pytest.raises(runs.Broken):
        runs.train(tmp_path, stream=runs.BreakingStream(5))
    result = runs.train(tmp_path, on=runs.layout(4, fsdp=2, model=2))
    np.testing.assert_allclose(result.valid_loss, unbroken[1].valid_loss, rtol=1e-5)


@pytest.mark.slow
def test_killed_run_equals_unbroken_run(tmp_path):
    """SIGKILL at random moments, saves included (every step is saved)."""
    expected = runs.train(tmp_path / "whole", slow_run.CONFIG)
    directory, moment = tmp_path / "killed", random.Random(os.getpid())
    command = [sys.executable, "-m", "tests.training.slow_run", str(directory)]
    for until in (3, 13):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while last_step(directory) < until and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(moment.random() * 0.3)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert "goes on after step" not in done.stdout
    assert done.stdout.split()[-1] == expected.fingerprint
    assert runs.lines(directory) == runs.lines(tmp_path / "whole")


def last_step(directory) -> int:
    """The number of committed steps that a running process shows."""
    folder = directory / "checkpoints"
    return max((int(path.name) for path in folder.glob("*") if path.name.isdigit()), default=0)


class PoisonedStream(tiny_family.Stream):
    """Its sixth batch has a weight that makes the loss infinite."""

    def __next__(self):
        batch = super().__next__()
        number = batch.row[0] // len(batch.row)
        return batch if number != 5 else batch.replace(weight=batch.weight * np.float32(np.inf))


def test_non_finite_loss_stops_the_run_and_keeps_the_last_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"not finite at step 6 .*rows 40, 41, 42"):
        runs.train(tmp_path, runs.with_config(checkpoint_every=5, log_every=8), stream=PoisonedStream())
    assert last_step(tmp_path) == 5


def test_weights_that_overflow_are_not_saved(tmp_path):
    optim = dataclasses.replace(runs.OPTIM, peak_lr=3e38, warmup_steps=1)
    with pytest.raises(UserError, match="not finite at step 1 "):
        runs.train(tmp_path, runs.with_config(optim=optim, checkpoint_every=1))
    assert last_step(tmp_path) == 0


class TurningValid:
    """A valid split that after `good` passes turns into words training never shows: more steps, more loss."""

    def __init__(self, good: int):
        self._good, self._calls = good, 0

    def __call__(self):
        self._calls += 1
        if self._calls <= self._good:
            return [tiny_family.batch(number) for number in range(2)]
        strange = tiny_family.batch(0)
        return [strange.replace(target=np.where(strange.target > EOS, NUM_SPECIAL, strange.target))]


def test_early_stopping_returns_the_best(tmp_path):
    config = runs.with_config(steps=40, eval_every=2, checkpoint_every=7, patience=3, best_by="loss")
    result = runs.train(tmp_path, config, valid_batches=TurningValid(good=3))
    losses = {row["step"]: row["valid_loss"] for row in runs.lines(tmp_path) if "valid_loss" in row}
    best = min(losses, key=losses.get)
    assert result.step == best == 6 and max(losses) == best + 3 * 2
    assert result.valid_loss == losses[best]
    same_steps = runs.train(tmp_path / "six", runs.with_config(steps=best, eval_every=2))
    assert result.fingerprint == same_steps.fingerprint
    again = runs.train(tmp_path, config, stream=runs.BreakingStream(0))
    assert again.fingerprint == result.fingerprint
    assert fingerprint(load_params(tmp_path, FAMILY, runs.layout(), result.weights)) == result.fingerprint


def test_warm_start(tmp_path, unbroken):
    _, before = unbroken
    config = runs.with_config(steps=1, ema_decay=None)
    kept = fingerprint(before.params)
    result = runs.train(tmp_path, config, initial_params=before.params)
    # A fresh Adam moves no weight by more than the rate (plus the decay); a cold start is far off.
    moved = jax.tree.map(
        lambda a, b: float(abs(np.asarray(a) - np.asarray(b)).max()), before.params, result.params
    )
    assert 0 < max(jax.tree.leaves(moved)) < 0.02
    assert fingerprint(before.params) == kept  # not donated, although on the same device
    elsewhere = runs.train(tmp_path / "4", config, initial_params=before.params, on=runs.layout(4, model=4))
    np.testing.assert_allclose(elsewhere.valid_loss, result.valid_loss, rtol=1e-5)
    wrong = {**before.params, "tokens": before.params["tokens"][:5]}
    with pytest.raises(UserError, match=r"'tokens'.*\(5, 8\).*\(24, 8\)"):
        runs.train(tmp_path / "wrong", config, initial_params=wrong)


def test_accumulation_and_flops(tmp_path):
    config = runs.with_config(steps=2, log_every=2, accumulate=4)
    runs.train(tmp_path, config, flops=runs.positions)
    runs.train(tmp_path / "whole", runs.with_config(steps=2, log_every=2), flops=runs.positions)
    assert runs.positions_a_token(tmp_path) == pytest.approx(runs.positions_a_token(tmp_path / "whole"))
    with pytest.raises(UserError, match=r"train\.accumulate=3"):
        runs.train(tmp_path / "three", runs.with_config(accumulate=3))


def test_the_best_evaluation_needs_a_valid_split(tmp_path):
    for name, value in (("patience", 2), ("average_best", 3), ("best_by", "loss")):
        with pytest.raises(UserError, match=f"^train.{name}={value}: .*train.average_best"):
            runs.train(tmp_path, runs.with_config(**{name: value}), valid_batches=None)
    with pytest.raises(UserError, match="valid split has no rows"):
        runs.train(tmp_path, runs.with_config(patience=2), valid_batches=list)


def test_metrics_where_nothing_can_be_appended(tmp_path, monkeypatch):
    """As in an object store: the same lines as on a disk, also after a break."""
    whole = runs.train(tmp_path / "whole")
    for module in ("emnat_jax.training.metrics", "emnat_jax.artifacts.atomic"):
        monkeypatch.setattr(f"{module}.is_local", lambda path: False)
    with pytest.raises(runs.Broken):
        runs.train(tmp_path / "distant", stream=runs.BreakingStream(5))
    assert runs.train(tmp_path / "distant").fingerprint == whole.fingerprint
    assert runs.lines(tmp_path / "distant") == runs.lines(tmp_path / "whole")
