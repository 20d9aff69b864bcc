"""Scores that are kept in a file: the same as in memory, and none of them in memory."""

import tempfile
import tracemalloc

import numpy as np
import pytest

from emnat_jax.config import SelectConfig
from emnat_jax.estep.constraints import constrained_weights
from emnat_jax.estep.score_file import ScoreFile
from emnat_jax.estep.scores import Scores
from emnat_jax.runtime.processes import Processes

ROWS, CANDIDATES = 2_000, 4


def table(seed):
    student, teacher0, quality = np.random.default_rng(seed).exponential(10, (3, ROWS, CANDIDATES))
    keep = np.ones((ROWS, CANDIDATES), bool)
    return Scores(
        -student, -np.sort(teacher0), keep, quality=quality / 100, columns={"student_log_prob": -student}
    )


@pytest.mark.parametrize("output", ["hard", "weighted"])
def test_a_constraint_is_the_one_of_the_tables_in_memory(output):
    config = SelectConfig(include_reference=False, max_drift=0.1, output=output)
    tables = {f"part {seed}": table(seed) for seed in range(5)}
    with tempfile.TemporaryFile() as file:
        kept = ScoreFile(file)
        for name, scores in tables.items():
            kept.add(name, scores)
        assert len(kept) == 5 and list(kept) == list(tables)
        found = constrained_weights(config, kept, Processes())
    assert found == constrained_weights(config, tables, Processes())
    assert found[0].beta > 0


def peak(shards, keep):
    """Bytes at most while the tables of so many shards are made and looked at."""
    with tempfile.TemporaryFile() as file:
        tracemalloc.start()
        kept = keep(file)
        for seed in range(shards):
            kept.add(f"part {seed}", table(seed))
        constrained_weights(SelectConfig(include_reference=False, max_drift=0.1), kept, Processes())
        bytes_at_most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return bytes_at_most


class InMemory(dict):
    """What a constraint looked at before."""

    def __init__(self, file):
        super().__init__()

    def add(self, name, scores):
        self[name] = scores


def test_memory_does_not_grow_with_the_set():
    few, many = (peak(shards, ScoreFile) for shards in (2, 12))
    assert many < 1.2 * few
    assert peak(12, InMemory) > 2 * few  # so the test sees it where it does
