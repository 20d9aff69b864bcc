"""Short runs of the tiny family, shared by the tests of training and by the process they kill."""

import dataclasses
import json

import jax

from emnat_jax.config import MeshConfig, OptimConfig, TrainConfig
from emnat_jax.runtime.mesh import make_layout
from emnat_jax.training.loop import fit
from emnat_jax.training.run import TrainingRun
from tests import tiny_family

TIMING = ("tokens_per_second", "model_flops_per_second")  # differ from run to run
OPTIM = OptimConfig(method="muon", peak_lr=0.05, warmup_steps=3)  # with AdamW for all but one matrix
CONFIG = TrainConfig(steps=8, log_every=3, eval_every=4, checkpoint_every=2, ema_decay=0.9, optim=OPTIM)
VALID = [tiny_family.batch(1_000), tiny_family.batch(1_001)]


def with_config(**changes) -> TrainConfig:
    """CONFIG with these changes."""
    return dataclasses.replace(CONFIG, **changes)


class Broken(Exception):
    """Stands for whatever ends a run before its time."""


class BreakingStream(tiny_family.Stream):
    """A stream that ends the run when it is asked for the batch after `steps`."""

    def __init__(self, steps: int):
        super().__init__()
        self._left = steps

    def __next__(self):
        self._left -= 1
        if self._left < 0:
            raise Broken
        return super().__next__()


def layout(devices: int = 1, **sizes):
    """A layout of the first `devices` devices."""
    return make_layout(MeshConfig(**sizes), jax.devices()[:devices])


def positions(batch) -> float:
    """Of the targets of a batch: they stand for the operations of a step."""
    return float(batch.target.size)


def positions_a_token(directory) -> float:
    """Of the last line of metrics.jsonl that has both rates."""
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    last = [row for row in rows if "model_flops_per_second" in row][-1]
    return last["model_flops_per_second"] / last["tokens_per_second"]


def train(directory, config=CONFIG, *, family=None, stream=None, on=None, log=lambda text: None, **options):
    """`fit` on the tiny family, dropout on."""
    run = TrainingRun(
        family=family or tiny_family.make(rate=0.2),
        stream=stream or tiny_family.Stream(),
        config=config,
        layout=on or layout(),
        seed=3,
        directory=directory,
        valid_batches=options.pop("valid_batches", lambda: VALID),
        log=log,
        **options,
    )
    return fit(run)


def lines(directory) -> list[dict]:
    """metrics.jsonl without what a clock measured."""
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMING} for row in rows]
