"""Early stopping and the order of events, without any training."""

import dataclasses
import json

import pytest

from emnat_jax.config import TrainConfig
from emnat_jax.training.loop_state import Evaluated, LoopState

CONFIG = TrainConfig(steps=20, log_every=3, eval_every=4, checkpoint_every=5, patience=2, best_by="loss")


def after(losses, config=CONFIG):
    """The loop after evaluations with these losses, at steps 1, 2, ..."""
    loop = LoopState()
    for step, loss in enumerate(losses, 1):
        loop = dataclasses.replace(loop, step=step)
        loop = loop.evaluated(Evaluated(step, loss, loss, rank=-loss), config)
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
    assert [(found.step, found.loss) for found in loop.best] == [(best_step, losses[best_step - 1])]
    assert loop.valid_loss == losses[-1]
    assert loop.finished(CONFIG) == finished


def test_without_patience_nothing_stops_early():
    config = dataclasses.replace(CONFIG, patience=None)
    loop = after([1.0, 2.0, 3.0, 4.0], config)
    assert loop.kept == (1,) and not loop.finished(config)
    assert dataclasses.replace(loop, step=20).finished(config)


def test_without_a_measure_no_evaluation_is_kept():
    config = dataclasses.replace(CONFIG, patience=None, best_by=None)
    assert after([1.0, 2.0], config).kept == ()


@pytest.mark.parametrize(
    ("losses", "kept"),
    [
        ([3.0], (1,)),
        ([3.0, 2.0, 2.5], (2, 3)),
        ([3.0, 2.0, 2.0, 2.0], (2, 3)),  # of equal ones the earlier
        ([2.0, 4.0, 3.0, 1.0], (1, 4)),
    ],
)
def test_the_best_two_are_kept(losses, kept):
    config = dataclasses.replace(CONFIG, patience=None, average_best=2)
    loop = after(losses, config)
    assert loop.kept == kept and loop.best[0].loss == min(losses)


def test_a_score_that_does_not_move_yet_stops_nothing():
    """BLEU of the first evaluations is 0: the loss decides."""
    loop = LoopState()
    for step, loss in enumerate([5.0, 4.0, 3.0, 3.5], 1):
        loop = dataclasses.replace(loop, step=step).evaluated(Evaluated(step, loss, 0.0, rank=0.0), CONFIG)
    assert loop.kept == (3,) and loop.stale == 1


def test_the_state_survives_its_checkpoint():
    loop = after([3.0, 2.0, 2.5], dataclasses.replace(CONFIG, average_best=2))
    assert LoopState.of(json.loads(json.dumps(dataclasses.asdict(loop)))) == loop
    before = {"step": 7, "best_loss": 2.0, "best_step": 4, "stale": 1}  # as it was with one best, by its loss
    assert LoopState.of(before).kept == (4,)
    assert LoopState.of({"step": 7, "best_loss": None, "best_step": None}) == LoopState(step=7)


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
    assert loop.without_lost_best([3]).kept == ()
    assert loop.without_lost_best([3]).evaluated(Evaluated(3, 9.0, 9.0, -9.0), CONFIG).best[0].loss == 9.0
