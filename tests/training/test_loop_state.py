"""Early stopping and the order of events, without any training."""

import dataclasses

import pytest

from emnat_jax.config import TrainConfig
from emnat_jax.training.loop_state import LoopState

CONFIG = TrainConfig(steps=20, log_every=3, eval_every=4, checkpoint_every=5, patience=2)


def after(losses, config=CONFIG):
    """The loop after evaluations with these losses, at steps 1, 2, ..."""
    loop = LoopState()
    for step, loss in enumerate(losses, 1):
        loop = dataclasses.replace(loop, step=step).evaluated(loss, config)
    return loop


@pytest.mark.parametrize(
    ("losses", "best_step", "finished"),
    [
        ([3.0, 2.0, 2.5], 2, False),
        ([3.0, 2.0, 2.5, 2.1], 2, True),
        ([3.0, 2.0, 2.0, 2.0], 2, True),  # an equal loss is no better one
        ([3.0, 3.5, 2.0, 2.5], 3, False),  # a better one starts the count anew
        ([3.0, 3.5, 2.0, 2.5, 2.5], 3, True),
    ],
)
def test_patience(losses, best_step, finished):
    loop = after(losses)
    assert (loop.best_step, loop.best_loss) == (best_step, losses[best_step - 1])
    assert loop.valid_loss == losses[-1]
    assert loop.finished(CONFIG) == finished


def test_without_patience_nothing_stops_early():
    config = dataclasses.replace(CONFIG, patience=None)
    loop = after([1.0, 2.0, 3.0, 4.0], config)
    assert loop.best_step is None and not loop.finished(config)
    assert dataclasses.replace(loop, step=20).finished(config)


def test_stops_are_the_multiples_and_the_end():
    stops, loop = [], LoopState()
    while not loop.finished(CONFIG):
        loop = dataclasses.replace(loop, step=loop.next_stop(CONFIG))
        stops.append(loop.step)
    assert stops == [3, 4, 5, 6, 8, 9, 10, 12, 15, 16, 18, 20]
    assert loop.is_due(3, CONFIG)
    assert not dataclasses.replace(loop, step=16).is_due(5, CONFIG)


def test_best_that_is_gone_is_forgotten():
    loop = after([3.0, 2.0, 2.5])
    assert loop.without_lost_best([2, 3]) == loop
    assert loop.without_lost_best([3]).best_step is None
    assert loop.without_lost_best([3]).evaluated(9.0, CONFIG).best_loss == 9.0
