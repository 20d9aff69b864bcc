"""Runs that use their best evaluation, or the mean of several."""

import jax
import numpy as np
import pytest

from emnat_jax.training.choice import ValidScore
from emnat_jax.training.fingerprint import fingerprint
from emnat_jax.training.weights import load_params
from tests import tiny_family
from tests.training import runs

FAMILY = tiny_family.make(rate=0.2)


class Marks:
    """A measure whose values are given: those of the first, the second, ... evaluation of a run."""

    def __init__(self, values, config):
        self.seen, self._values, self._every = [], values, config.eval_every

    def __call__(self, params):
        self.seen.append(fingerprint(params))
        return self._values[(len(self.seen) - 1) % len(self._values)]


def marked(values, config, larger_is_better=True):
    return ValidScore("mark", Marks(values, config), larger_is_better)


@pytest.mark.parametrize(("larger_is_better", "best"), [(True, 4), (False, 6)])
def test_the_best_by_a_score_is_used(tmp_path, larger_is_better, best):
    """Whatever its loss: which of steps 2, 4, 6, 8 is better the score alone says."""
    config = runs.with_config(eval_every=2, checkpoint_every=8, best_by="bleu")
    score = marked([1.0, 3.0, 0.5, 2.0], config, larger_is_better)
    result = runs.train(tmp_path, config, valid_score=score)
    assert (result.step, result.chosen.by, result.chosen.steps) == (best, "bleu", (best,))
    assert result.chosen.value == (3.0 if larger_is_better else 0.5)
    logged = {row["step"]: row for row in runs.lines(tmp_path) if "valid_loss" in row}
    assert [row["valid_mark"] for row in logged.values()] == [1.0, 3.0, 0.5, 2.0]
    assert result.valid_loss == logged[best]["valid_loss"]
    assert result.fingerprint == score.measure.seen[best // 2 - 1]
    assert fingerprint(load_params(tmp_path, FAMILY, runs.layout(), result.weights)) == result.fingerprint


def test_early_stopping_by_a_score(tmp_path):
    config = runs.with_config(steps=40, eval_every=2, checkpoint_every=40, patience=2)
    result = runs.train(tmp_path, config, valid_score=marked([1.0, 3.0, 2.0, 2.5, 9.0], config))
    assert result.step == 4 and max(row["step"] for row in runs.lines(tmp_path)) == 8


def test_the_mean_of_the_best_is_used(tmp_path):
    config = runs.with_config(eval_every=2, checkpoint_every=8, average_best=2, ema_decay=None)
    said, score = [], marked([1.0, 3.0, 0.5, 2.0, 7.0], config)
    result = runs.train(tmp_path, config, valid_score=score, log=said.append)
    assert (result.step, result.chosen.steps, result.chosen.value) == (8, (4, 8), 7.0)
    assert any("mean of those after steps 4, 8" in text for text in said)
    single = [
        runs.train(tmp_path / str(steps), runs.with_config(steps=steps, ema_decay=None)).params
        for steps in (4, 8)
    ]
    mean = jax.tree.map(lambda a, b: (np.asarray(a) + np.asarray(b)) / 2, *single)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), result.params, mean)
    loss = sum(-float(FAMILY.score(mean, batch).sum()) for batch in runs.VALID)
    np.testing.assert_allclose(
        result.valid_loss, loss / sum((batch.target != 0).sum() for batch in runs.VALID), rtol=1e-5
    )
    assert (
        fingerprint(load_params(tmp_path, FAMILY, runs.layout(4, fsdp=2), result.weights))
        == result.fingerprint
    )
    assert sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == [4, 8]


@pytest.mark.slow
@pytest.mark.parametrize("steps", [3, 9, 13])
def test_resumed_equals_unbroken_with_patience_and_averaging(tmp_path, steps):
    """Bit for bit; the best is that of step 10, and with the two beside it the mean, at step 16 of 40."""
    config = runs.with_config(steps=40, eval_every=2, checkpoint_every=5, patience=3, average_best=3)

    def score():  # of the parameters alone: a resumed run begins in the middle
        def measure(params):
            return -abs(float(FAMILY.score(params, runs.VALID[0]).sum()) + 67.7)

        return ValidScore("mark", measure, True)

    whole = runs.train(tmp_path / "whole", config, valid_score=score())
    with pytest.raises(runs.Broken):
        runs.train(tmp_path / "broken", config, valid_score=score(), stream=runs.BreakingStream(steps))
    resumed = runs.train(tmp_path / "broken", config, valid_score=score())
    assert (
        whole.chosen.steps == (8, 10, 12) and max(row["step"] for row in runs.lines(tmp_path / "whole")) == 16
    )
    assert resumed.fingerprint == whole.fingerprint and resumed.chosen == whole.chosen
    assert runs.lines(tmp_path / "broken") == runs.lines(tmp_path / "whole")
