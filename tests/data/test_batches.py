import collections
import dataclasses
import itertools

import numpy as np
import pytest

from emnat_jax.artifacts.records import Row
from emnat_jax.config import DataConfig
from emnat_jax.data.batches import BatchStream, bucket_rows, sequential_batches
from emnat_jax.data.pairs import load_pairs, make_groups, make_pairs
from emnat_jax.errors import UserError
from emnat_jax.types import EOS, PAD
from tests.data.in_memory import InMemory
from tests.data.rows import random_rows, tokens, write_dataset

DATA = DataConfig(buckets=(4, 8, 12), batch_tokens=96, row_multiple=1)


def stream(rows, seed=1, data=DATA, **arguments) -> BatchStream:
    return BatchStream(InMemory(make_pairs(rows)), data, seed=seed, **arguments)


def epoch(batches: BatchStream) -> list:
    return list(itertools.islice(batches, batches.batches_per_epoch))


def assert_equal(a, b):
    for name in ("source", "target", "weight", "row"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def unpadded(array, line) -> list[int]:
    """Tokens of a line, after a check that nothing but padding follows its EOS."""
    end = array[line].tolist().index(EOS) + 1
    assert (array[line, end:] == PAD).all()
    return array[line, :end].tolist()


def assert_holds(batch, by_id):
    """Every row of the batch is that of its id; fillers are EOS alone with weight 0."""
    assert batch.source.dtype == batch.target.dtype == batch.row.dtype == np.int32
    assert batch.weight.dtype == np.float32
    for line, row in enumerate(batch.row.tolist()):
        source, target = unpadded(batch.source, line), unpadded(batch.target, line)
        if row == -1:
            assert (source, target, batch.weight[line]) == ([EOS], [EOS], 0)
        else:
            assert source == by_id[row].source.tolist() and target == by_id[row].targets[0].tolist()
            assert batch.weight[line] == 1


def test_pairs_are_the_rows_of_the_data_set(tmp_path):
    rows = random_rows(30, targets=3, first=100)
    write_dataset(tmp_path, rows, shards=4)
    pairs = load_pairs(tmp_path)
    assert pairs.size == 30 and pairs.row.tolist() == [row.row for row in rows]
    assert pairs.source_tokens.dtype == np.uint16
    for i, row in enumerate(rows):
        ends = pairs.target_offsets[i : i + 2]
        assert pairs.target_tokens[ends[0] : ends[1]].tolist() == row.targets[0].tolist()
    assert pairs.source_lengths.tolist() == [len(row.source) for row in rows]


def test_token_ids_past_sixteen_bits_survive(monkeypatch):
    monkeypatch.setattr("emnat_jax.data.pairs._CHUNK_ROWS", 2)  # a wide chunk after a narrow one
    rows = [Row(i, tokens(65_535 + i), [tokens(70_000 * i)], "", "") for i in range(5)]
    pairs = make_pairs(rows)
    assert pairs.source_tokens.tolist() == [65535, 1, 65536, 1, 65537, 1, 65538, 1, 65539, 1]
    assert pairs.target_tokens.max() == 280_000


@pytest.mark.parametrize(
    "width, batch_tokens, multiple, rows",
    [(10, 1024, 1, 102), (10, 1024, 8, 96), (24, 1024, 8, 40), (100, 64, 1, 1), (100, 64, 4, 4)],
)
def test_rows_of_a_bucket(width, batch_tokens, multiple, rows):
    assert bucket_rows(width, batch_tokens, multiple) == rows


@pytest.mark.parametrize("count", [1, 5, 200])
@pytest.mark.parametrize("row_multiple", [1, 4])
def test_every_row_comes_once_an_epoch_in_the_narrowest_shape_that_holds_it(count, row_multiple):
    rows = random_rows(count)
    by_id = {row.row: row for row in rows}
    batches = stream(rows, data=dataclasses.replace(DATA, row_multiple=row_multiple))
    assert batches.skipped == 0
    for _ in range(3):
        seen = collections.Counter()
        for batch in epoch(batches):
            width = batch.source.shape[1]
            assert batch.source.shape == batch.target.shape == (bucket_rows(width, 96, row_multiple), width)
            assert_holds(batch, by_id)
            real = [by_id[row] for row in batch.row.tolist() if row != -1]
            narrower = max((w for w in DATA.buckets if w < width), default=0)
            assert all(narrower < max(len(r.source), len(r.targets[0])) <= width for r in real)
            seen.update(row.row for row in real)
        assert seen == collections.Counter(range(count))


def test_only_the_last_batch_of_a_bucket_holds_fillers():
    batches = epoch(stream(random_rows(300)))
    partly = collections.Counter(b.source.shape for b in batches if (b.weight == 0).any())
    assert max(partly.values()) == 1


def test_epochs_and_seeds_shuffle_differently_and_repeat():
    rows = random_rows(200)
    order = [tuple(batch.row.tolist()) for batch in epoch(stream(rows))]
    assert [tuple(batch.row.tolist()) for batch in epoch(stream(rows))] == order
    again = stream(rows)
    epoch(again)
    assert [tuple(batch.row.tolist()) for batch in epoch(again)] != order
    assert [tuple(batch.row.tolist()) for batch in epoch(stream(rows, seed=2))] != order
    real = [[row for row in rows if row >= 0] for rows in order]
    assert any(rows != sorted(rows) for rows in real)  # rows are mixed within a bucket
    widths = [batch.source.shape[1] for batch in epoch(stream(rows))]
    assert widths != sorted(widths)  # batches of different buckets are mixed


@pytest.mark.parametrize("hosts", [2, 4])
def test_any_number_of_hosts_draws_the_same_global_batches(hosts):
    rows = random_rows(120)
    data = dataclasses.replace(DATA, row_multiple=4)

    def of_host(host):
        return lambda index: index.reshape(hosts, -1)[host]

    alone = stream(rows, data=data)
    together = [stream(rows, data=data, local=of_host(host)) for host in range(hosts)]
    for _ in range(alone.batches_per_epoch + 3):
        whole, parts = next(alone), [next(s) for s in together]
        for name in ("source", "target", "weight", "row"):
            joined = np.concatenate([getattr(part, name) for part in parts])
            np.testing.assert_array_equal(joined, getattr(whole, name))
        assert alone.state() == together[1].state()


def test_a_restored_stream_goes_on_as_the_unbroken_one():
    rows = random_rows(200)
    unbroken = stream(rows)
    states, batches = [], []
    for _ in range(2 * unbroken.batches_per_epoch + 2):
        states.append(unbroken.state())
        batches.append(next(unbroken))
    assert states[unbroken.batches_per_epoch] == {"epoch": 1, "batch": 0}
    for start in (0, 3, unbroken.batches_per_epoch - 1, unbroken.batches_per_epoch, len(batches) - 4):
        resumed = stream(rows)
        next(resumed)
        resumed.restore(states[start])
        for batch in batches[start : start + 5]:
            assert_equal(next(resumed), batch)


def test_a_position_of_other_data_is_refused():
    batches = stream(random_rows(20))
    with pytest.raises(UserError, match="is not in an epoch of"):
        batches.restore({"epoch": 0, "batch": 999})


def test_rows_too_long_for_the_buckets_are_counted_and_all_too_long_is_an_error():
    rows = [*random_rows(10), Row(99, tokens(*range(4, 20)), [tokens(4)], "", "")]
    batches = stream(rows)
    assert batches.skipped == 1
    assert 99 not in np.concatenate([batch.row for batch in epoch(batches)])
    with pytest.raises(UserError, match="none of 1 rows fits"):
        stream(rows[-1:])
    with pytest.raises(UserError, match="none of 0 rows fits"):
        stream([])


@pytest.mark.parametrize("by", ["both", "source"])
@pytest.mark.parametrize("count", [0, 1, 77])
def test_sequential_batches_hold_every_row_once_in_order(by, count):
    rows = random_rows(count, longest=20)  # some are longer than the last bucket
    by_id = {row.row: row for row in rows}
    seen, shapes = [], set()
    for batch in sequential_batches(make_pairs(rows), DATA.buckets, 12, by=by):
        assert batch.source.shape[0] == 12
        assert_holds(batch, by_id)
        shapes.add((batch.source.shape, batch.target.shape))
        real = batch.row[batch.row >= 0].tolist()
        lengths = [(len(by_id[row].source), row) for row in real]
        assert lengths == sorted(lengths) and real
        seen += real
    assert sorted(seen) == list(range(count))
    assert len(shapes) <= 4


def test_sequential_batches_by_source_do_not_depend_on_targets():
    rows = random_rows(40)
    swapped = [Row(r.row, r.source, [tokens()], "", "") for r in rows]
    one, other = (
        list(sequential_batches(make_pairs(r), DATA.buckets, 8, by="source")) for r in (rows, swapped)
    )
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.source, b.source)
        np.testing.assert_array_equal(a.row, b.row)
    with pytest.raises(ValueError):
        next(sequential_batches(make_pairs(rows), DATA.buckets, 8, by="target"))


def test_sequential_batches_give_a_host_its_rows():
    pairs = make_pairs(random_rows(50))
    whole = list(sequential_batches(pairs, DATA.buckets, 12))
    part = list(sequential_batches(pairs, DATA.buckets, 12, local=lambda index: index[6:9]))
    for a, b in zip(whole, part, strict=True):
        np.testing.assert_array_equal(a.source[6:9], b.source)
        np.testing.assert_array_equal(a.row[6:9], b.row)


def test_prior_shares_are_the_teachers():
    targets = [np.array([5 + k, EOS]) for k in range(3)]
    scored = {"teacher_log_prob": np.array([-1.0, -2.0, -1e9], np.float32)}  # the last is a reference
    row = Row(0, targets[0], targets, "", "", scored)
    half = np.exp(-0.5)
    np.testing.assert_allclose(
        make_groups([row], 3, 0.5).weight, np.array([1, half, 1]) / (2 + half), rtol=1e-6
    )
    named = dataclasses.replace(row, scores={"teacher0_log_prob": row.scores["teacher_log_prob"]})
    np.testing.assert_array_equal(make_groups([named], 3, 0.5).weight, make_groups([row], 3, 0.5).weight)
    np.testing.assert_allclose(make_groups([row], 4, 0.0).weight, [1 / 3, 1 / 3, 1 / 3, 0], rtol=1e-6)
    np.testing.assert_allclose(make_groups([row], 2, 1.0).weight.sum(), 1.0, rtol=1e-6)


def test_groups_come_whole_and_side_by_side():
    """Every row once an epoch with all its targets; shares sum to 1, a missing target has weight 0."""
    rows = [
        Row(
            i,
            np.array([5] * (1 + i % 3) + [EOS]),
            [np.array([6 + k] * (1 + (i + k) % 4) + [EOS]) for k in range(1 + i % 3)],
            "",
            "",
        )
        for i in range(10)
    ]
    pairs = make_groups(rows, 3)
    assert pairs.size == 30
    data = DataConfig(buckets=(3, 8), batch_tokens=96, row_multiple=2)
    stream = BatchStream(InMemory(pairs, 3), data, seed=1)
    seen, local = {}, BatchStream(InMemory(pairs, 3), data, seed=1, local=lambda rows: rows[1::2])
    for _ in range(stream.batches_per_epoch):
        batch, mine = next(stream), next(local)
        groups = batch.row.reshape(-1, 3)
        assert (groups == groups[:, :1]).all() and len(groups) % 2 == 0 and batch.target.size <= 96 * 2
        np.testing.assert_array_equal(mine.row, groups[1::2].reshape(-1))
        for row, weight in zip(groups[:, 0], batch.weight.reshape(-1, 3), strict=True):
            if row >= 0:
                assert row not in seen
                seen[int(row)] = weight
    assert sorted(seen) == list(range(10))
    for row, weight in seen.items():
        real = 1 + row % 3
        np.testing.assert_allclose(weight, [1 / real] * real + [0] * (3 - real), rtol=1e-6)
