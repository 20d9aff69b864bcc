"""Steps that several processes take together: the same shapes in the same order, and nobody's rows lost."""

import concurrent.futures

import numpy as np
import pytest

from emnat_jax.inference.batching import _in_step
from emnat_jax.runtime import watchdog
from emnat_jax.runtime.processes import Processes
from emnat_jax.types import EOS, Batch
from tests.texts import Texts


def batch(rows: int, source: int, target: int, first: int) -> Batch:
    """Rows numbered from `first`."""
    shape = np.full((rows, source), 5, np.int32), np.full((rows, target), 6, np.int32)
    return Batch(*shape, np.ones(rows, np.float32), np.arange(first, first + rows, dtype=np.int32))


@pytest.fixture
def steps(monkeypatch):
    """A function: batches of each process -> what each is given."""
    monkeypatch.setattr(watchdog, "BEAT_SECONDS", 0.05)

    def run(*batches: list[Batch]) -> list[list[Batch]]:
        store = Texts()
        processes = [Processes(index, len(batches), store) for index in range(len(batches))]
        with concurrent.futures.ThreadPoolExecutor(len(batches)) as pool:
            found = list(pool.map(lambda own, process: list(_in_step(own, process)), batches, processes))
        for process in processes:
            process._peers.watchdog.stop()
        return found

    return run


def test_all_take_the_same_steps_and_keep_their_rows(steps):
    mine = [batch(2, 8, 1, 0), batch(2, 16, 1, 2), batch(2, 8, 1, 4)]
    yours = [batch(2, 16, 1, 100), batch(2, 24, 1, 102)]
    found = steps(mine, yours, [])
    shapes = [[b.source.shape for b in own] for own in found]
    assert shapes == [[(2, 8), (2, 8), (2, 16), (2, 24)]] * 3
    rows = [[row for b in own for row in b.row.tolist() if row >= 0] for own in found]
    assert rows == [[0, 1, 4, 5, 2, 3], [100, 101, 102, 103], []]
    for own in found:
        for b in own:
            assert (b.weight == (b.row >= 0)).all()
            assert (b.source[b.row < 0] == np.eye(1, b.source.shape[1], dtype=int) * EOS).all()


def test_with_nothing_to_do_nobody_takes_a_step(steps):
    assert steps([], []) == [[], []]


def test_alone_batches_come_as_they_are():
    mine = [batch(1, 16, 4, 0), batch(1, 8, 4, 1)]
    assert list(_in_step(iter(mine), Processes())) == mine
