"""Batches that are planned from indexes and read from records are those of the sets in memory."""

import dataclasses
import itertools
import tracemalloc

import numpy as np
import pytest

from emnat_jax.artifacts.record_index import index_path, write_index
from emnat_jax.artifacts.records import overlay
from emnat_jax.config import DataConfig
from emnat_jax.data.batches import BatchStream
from emnat_jax.data.examples import Learned, Targets, open_examples
from emnat_jax.data.folds import Fold
from emnat_jax.data.pairs import load_pairs, make_groups, make_pairs
from emnat_jax.data.read_ahead import ReadAhead
from emnat_jax.data.stored_sets import StoredSet
from emnat_jax.errors import UserError
from emnat_jax.types import EOS, PAD
from tests.data.in_memory import InMemory, pair_of, planned
from tests.data.rows import random_rows, stored

DATA = DataConfig(buckets=(4, 8, 12), batch_tokens=96, row_multiple=4)


def every(rows, step, begin=0):
    return [row for row in rows if row.row % step == begin]


def with_weights(rows):
    """Each row with as many of its targets as its number says, and their weights."""
    found = []
    for row in rows:
        targets = row.targets[: 1 + row.row % len(row.targets)]
        weight = np.linspace(0.1, 1.0, len(targets), dtype=np.float32)
        found.append(dataclasses.replace(row, targets=targets, scores={"weight": weight / weight.sum()}))
    return found


def with_scores(rows):
    rng = np.random.default_rng(7)
    return [
        dataclasses.replace(
            row,
            targets=row.targets[: 1 + row.row % 3],
            scores={"teacher_log_prob": -rng.exponential(3, 1 + row.row % 3).astype(np.float32)},
        )
        for row in rows
    ]


ROWS = random_rows(150, targets=3)
BASE = random_rows(200, targets=3, seed=1)
MONO = random_rows(40, targets=3, seed=2, first=200)
CASES = {
    "one set": ([ROWS], [], None, Targets()),
    "a partial E-step": ([every(ROWS, 3), BASE], [], None, Targets()),
    "mono and a fold": ([every(ROWS, 2, 1), BASE], [MONO], Fold(1, 3), Targets()),
    "a fold that the others have in part": ([BASE], [every(ROWS, 3)], Fold(0, 5), Targets()),
    "several targets with weights": ([with_weights(every(ROWS, 2)), BASE], [], None, Targets()),
    "groups": ([with_scores(every(ROWS, 4)), BASE], [MONO], None, Targets(3, 0.5)),
    "groups with weights": ([with_weights(ROWS)], [], None, Targets(2, 0.5)),
}
each_case = pytest.mark.parametrize("name", CASES)


def in_memory(name):
    """The pairs as they were loaded before: all of them, in flat arrays."""
    sets, others, fold, targets = CASES[name]
    rows = overlay(*sets)
    rows = overlay((row for row in rows if fold is None or row not in fold), *others)
    return make_pairs(rows) if targets.each == 1 else make_groups(rows, targets.each, targets.beta)


@pytest.fixture
def opened(tmp_path):
    """A function that opens the examples of a case."""

    def opened(name):
        sets, others, fold, targets = CASES[name]
        numbers = itertools.count()
        sets, others = (
            [stored(tmp_path / f"{name} {next(numbers)}", rows) for rows in some] for some in (sets, others)
        )
        return open_examples(Learned(sets, others, fold), targets, log=lambda text: None)

    return opened


def of_host(host, hosts):
    return lambda index: index.reshape(hosts, -1)[host]


def arrays_of(pairs, index, width, each):
    """A batch, a row at a time."""
    rows = [each * example + k if example >= 0 else -1 for example in index for k in range(each)]
    source, target = (np.full((len(rows), width), PAD, np.int32) for _ in range(2))
    weight, number = np.zeros(len(rows), np.float32), np.full(len(rows), -1, np.int32)
    source[:, 0] = target[:, 0] = EOS
    for place, row in enumerate(rows):
        if row >= 0:
            pair = pair_of(pairs, row)
            source[place, : len(pair.source)], target[place, : len(pair.target)] = pair.source, pair.target
            weight[place], number[place] = pair.weight, pair.row
    return source, target, weight, number


def assert_hold(batches, wanted):
    arrays = [array for batch in batches for array in dataclasses.astuple(batch)]
    for found, right in zip(arrays, itertools.chain(*wanted), strict=True):
        assert found.dtype == right.dtype
        np.testing.assert_array_equal(found, right)


@each_case
@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_the_batches_are_those_of_the_set_in_memory(opened, name, hosts):
    pairs, each = in_memory(name), CASES[name][-1].each
    with opened(name) as examples:
        assert examples.count == pairs.size // each
        streams = [BatchStream(examples, DATA, seed=5, local=of_host(h, hosts)) for h in range(hosts)]
        for epoch in range(2):
            plan = planned(pairs, DATA, 5, epoch, each)
            assert streams[0].batches_per_epoch == len(plan) > 3
            for width, index in plan:
                own = [of_host(host, hosts)(index) for host in range(hosts)]
                assert_hold(map(next, streams), [arrays_of(pairs, part, width, each) for part in own])


def test_a_host_reads_its_own_rows_alone(opened, monkeypatch):
    with opened("one set") as examples:
        asked, read = [], examples.read
        monkeypatch.setattr(examples, "read", lambda index: asked.append(index) or read(index))
        stream = BatchStream(examples, DATA, seed=5, local=of_host(1, 4))
        batch = next(stream)
        assert len(asked) == 1 and len(asked[0]) == (batch.row >= 0).sum() <= len(batch.row)


@pytest.mark.parametrize("ahead", [1, 3, 50])
def test_a_resumed_reader_goes_on_where_any_position_was(opened, ahead):
    def reader(examples):
        return ReadAhead(BatchStream(examples, DATA, seed=5), ahead)

    with opened("a partial E-step") as examples:
        unbroken, states, batches = reader(examples), [], []
        per_epoch = BatchStream(examples, DATA, seed=5).batches_per_epoch
        for _ in range(per_epoch + 4):
            states.append(unbroken.state())
            batches.append(next(unbroken))
        assert states[0] == {"epoch": 0, "batch": 0} and states[per_epoch] == {"epoch": 1, "batch": 0}
        resumed = reader(examples)
        next(resumed)
        for start in range(0, len(states), 3):
            resumed.restore(states[start])
            assert resumed.state() == states[start]
            np.testing.assert_array_equal(next(resumed).source, batches[start].source)
        for stream in (unbroken, resumed):
            stream.close()


def test_the_reader_is_ahead_and_not_further(opened, monkeypatch):
    with opened("one set") as examples:
        drawn, read = [], examples.read
        monkeypatch.setattr(examples, "read", lambda index: drawn.append(1) or read(index))
        reader = ReadAhead(BatchStream(examples, DATA, seed=5), 4)
        next(reader)
        reader.close()  # waits for the batch that is being made
        assert len(drawn) <= 4


def test_positions_of_other_data_are_refused(opened):
    with opened("one set") as examples:
        reader = ReadAhead(BatchStream(examples, DATA, seed=5))
        with pytest.raises(UserError, match="is not in an epoch of"):
            reader.restore({"epoch": 0, "batch": 999})
        reader.close()


def test_a_fold_of_none_or_of_all_is_refused(tmp_path):
    rows = every(ROWS, 3)
    for fold in (Fold(1, 3), Fold(0, 3)):
        one = stored(tmp_path / str(fold.index), rows)
        says = pytest.raises(UserError, match=r"^em\.folds=3: \d+ of 50 rows .* use fewer folds")
        with says, open_examples(Learned([one], left_out=fold)):
            pass


def test_the_lines_of_a_fold_are_counted_once_each(tmp_path):
    said = []
    one = stored(tmp_path / "set", with_weights(ROWS))
    with open_examples(Learned([one], left_out=Fold(1, 3)), log=said.append) as examples:
        assert said == ["50 rows, fold 1 of 3, are left out"] and examples.count > 150


def peak_bytes(first_batch, one: StoredSet) -> int:
    """At most, beside what was there."""
    tracemalloc.start()
    first_batch(one)
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


def first_batch(one: StoredSet) -> None:
    with open_examples(Learned([one])) as examples:
        next(BatchStream(examples, DATA, seed=5))


def first_batch_in_memory(one: StoredSet) -> None:
    next(BatchStream(InMemory(load_pairs(one.directory)), DATA, seed=5))


@pytest.mark.slow
def test_a_row_takes_few_bytes_of_memory(tmp_path, monkeypatch):
    for module in ("batches", "examples"):
        monkeypatch.setattr(f"emnat_jax.data.{module}._WINDOW", 256)
    sets = [stored(tmp_path / str(count), random_rows(count), shards=4) for count in (500, 3_500)]
    for one in sets:  # as one set of many shards has it, whose blocks are those of its shards
        monkeypatch.setattr("emnat_jax.artifacts.record_index._BLOCK_ROWS", 256)
        for shard in one.manifest.shards:
            path = one.directory / shard["name"]
            write_index(path, shard["sha256"], index_path(path))

    def each_row(make) -> float:
        few, many = (peak_bytes(make, one) for one in sets)
        return (many - few) / 3_000

    first_batch(sets[0])  # imports
    assert each_row(first_batch) < 8 < 50 < each_row(first_batch_in_memory)
