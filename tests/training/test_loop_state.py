"""Early stopping and the order of events, without any training."""

import dataclasses

import pytest

from emnat_jax.config import TrainConfig
from emnat_jax.training.loop_state import Standing

CONFIG = TrainConfig(steps=20, log_every=3, eval_every=4, checkpoint_every=5, patience=2)


def after(losses, config=CONFIG):
    """The standing after evaluations with these losses, at steps 1, 2, ..."""
    standing = Standing()
    for step, loss in enumerate(losses, 1):
        standing = dataclasses.replace(standing, step=step).evaluated(loss, config)
    return standing


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
    standing = after(losses)
    assert (standing.best_step, standing.best_loss) == (best_step, losses[best_step - 1])
    assert standing.valid_loss == losses[-1]
    assert standing.finished(CONFIG) == finished


def test_without_patience_nothing_stops_early():
    config = dataclasses.replace(CONFIG, patience=None)
    standing = after([1.0, 2.0, 3.0, 4.0], config)
    assert standing.best_step is None and not standing.finished(config)
    assert dataclasses.replace(standing, step=20).finished(config)


def test_stops_are_the_multiples_and_the_end():
    stops, standing = [], Standing()
    while not standing.finished(CONFIG):
        standing = dataclasses.replace(standing, step=standing.next_stop(CONFIG))
        stops.append(standing.step)
    assert stops == [3, 4, 5, 6, 8, 9, 10, 12, 15, 16, 18, 20]
    assert standing.is_due(3, CONFIG)
    assert not dataclasses.replace(standing, step=16).is_due(5, CONFIG)


def test_best_that_is_gone_is_forgotten():
    standing = after([3.0, 2.0, 2.5])
    assert standing.without_lost_best([2, 3]) == standing
    assert standing.without_lost_best([3]).best_step is None
    assert standing.without_lost_best([3]).evaluated(9.0, CONFIG).best_loss == 9.0
