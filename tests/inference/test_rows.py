"""How many rows a decoding or scoring batch has, and that no result depends on it."""

import concurrent.futures
import re
import threading

import jax
import numpy as np
import pytest

from emnat_jax.artifacts.records import Row
from emnat_jax.config import DataConfig, MeshConfig
from emnat_jax.em.stages.programs import Target, score_program
from emnat_jax.errors import UserError
from emnat_jax.families import parallel_parts
from emnat_jax.inference import batching
from emnat_jax.inference.batching import Machine, RowSizes, device_rows, each_batch
from emnat_jax.inference.decode import make_decode_step
from emnat_jax.inference.model import CompiledModel
from emnat_jax.inference.score import make_list_score_step
from emnat_jax.inference.sentences import sentence_pairs
from emnat_jax.runtime import watchdog
from emnat_jax.runtime.memory import CPU_ROWS, MOST_ROWS, SHARE, Memory, device_memory, estimated_bytes
from emnat_jax.runtime.mesh import make_layout
from emnat_jax.runtime.processes import Processes
from emnat_jax.types import EOS
from tests import tiny
from tests.inference.test_batching import batch
from tests.quick import quick
from tests.texts import Texts

ONE = make_layout(MeshConfig(), jax.devices()[:1])


def sentences(count: int, seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    words = [random.choice(tiny.WORDS, random.integers(1, tiny.MAX_LENGTH)) for _ in range(count)]
    return [np.append(found, EOS).astype(np.int32) for found in words]


@pytest.mark.parametrize(
    "name", ["vanilla", pytest.param("ar", marks=pytest.mark.slow)]
)  # that a row does not see others: tests/families
@pytest.mark.slow
def test_no_result_depends_on_the_rows(name):
    pairs, params = sentence_pairs(sentences(9, 0), sentences(9, 1)), tiny.params(name)
    found = []
    for rows in (None, 1, 8, 64):
        data = DataConfig(buckets=(tiny.MAX_LENGTH,), decode_rows=rows)
        model = CompiledModel(tiny.model(name), data, ONE)
        found.append((model.decode(params, pairs, 2), model.score(params, pairs)))
    (lists, scores), *others = found
    for other_lists, other_scores in others:
        for own, other in zip(lists, other_lists, strict=True):
            assert [tokens.tolist() for tokens in own.tokens] == [tokens.tolist() for tokens in other.tokens]
            np.testing.assert_allclose(own.log_prob, other.log_prob, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(scores, other_scores, rtol=1e-4, atol=1e-4)


def test_as_many_rows_as_fit():
    """The most of 256, 128, ... whose estimate is within the share; fewer in less memory, 1 in none."""
    step, params = make_decode_step(tiny.family("ar"), ONE, 2), tiny.params("ar")
    found = []
    for size in (1 << 40, 400_000, 200_000, 1):
        rows = device_rows(None, step, params, (4, 1), Memory(size))
        found.append(rows)
        needed = [
            estimated_bytes(step, params, batching.abstract_batch(count, 4, 1)) for count in (rows, 2 * rows)
        ]
        assert rows == 1 or needed[0] <= SHARE * size
        assert rows == MOST_ROWS or needed[1] > SHARE * size
    assert found == sorted(found, reverse=True) and (found[0], found[-1]) == (MOST_ROWS, 1)
    assert 1 < found[2] <= found[1] < MOST_ROWS


def test_a_cpu_takes_few_rows():
    """More leave its caches; what is given holds."""
    step, params = make_decode_step(tiny.family("ar"), ONE, 2), tiny.params("ar")
    assert device_rows(None, step, params, (4, 1), device_memory(ONE)) == CPU_ROWS < MOST_ROWS
    models = [CompiledModel(tiny.model("ar"), DataConfig(decode_rows=rows), ONE) for rows in (None, 100)]
    assert [model.batch_rows for model in models] == [CPU_ROWS, 100]


def test_a_number_that_is_given_is_taken():
    step, params = make_decode_step(tiny.family("ar"), ONE, 2), tiny.params("ar")
    assert device_rows(1_000, step, params, (4, 1), Memory(1)) == 1_000
    assert device_rows(1_000, step, params, (4, 1), Memory(1), most=8) == 8
    assert device_rows(None, step, params, (4, 1), Memory(None), most=8) == 8


def test_processes_take_the_rows_of_the_smallest_device(monkeypatch):
    monkeypatch.setattr(watchdog, "BEAT_SECONDS", 0.05)
    sizes = iter((1 << 40, 200_000))
    monkeypatch.setattr(batching, "device_memory", lambda layout: Memory(next(sizes)))
    store = Texts()
    processes = [Processes(index, 2, store) for index in range(2)]
    step, params = make_decode_step(tiny.family("ar"), ONE, 2), tiny.params("ar")

    def rows(process: Processes) -> int:
        return Machine(DataConfig(), ONE, process).rows(step, params, RowSizes(target=1))(4)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        found = list(pool.map(rows, processes))
    for process in processes:
        process._peers.watchdog.stop()
    assert found[0] == found[1] == device_rows(None, step, params, (4, 1), Memory(200_000)) < MOST_ROWS


@pytest.mark.parametrize("layout", [ONE, make_layout(MeshConfig())], ids=["one", "four"])
def test_where_memory_runs_out_the_message_names_rows_that_fit(layout):
    """Followed as often as it comes, its advice ends in a number that the devices hold."""
    shares = len(jax.devices()) if layout is not ONE else 1

    def step(rows):
        if len(rows.weight) > 2 * shares:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")
        return rows.weight

    tried = [16]
    for _ in range(5):
        machine = Machine(DataConfig(decode_rows=tried[-1]), layout, Processes())
        try:
            list(each_batch(step, [batch(tried[-1] * shares, 8, 8, 0)], machine))
            break
        except UserError as error:
            assert f"{tried[-1]} rows of 8 tokens (data.decode_rows={tried[-1]})" in str(error)
            tried.append(int(re.search(r"--config\.data\.decode_rows=(\d+)", str(error))[1]))
    assert tried == [16, 8, 4, 2]


def test_the_advice_for_lists_counts_their_targets():
    def step(rows):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")

    machine = Machine(DataConfig(decode_rows=16), ONE, Processes())
    with pytest.raises(UserError, match=r"4 rows of 8 tokens and 4 targets .*decode_rows=8\."):
        list(each_batch(step, [batch(4, 8, 32, 0)], machine, targets=4))


@pytest.mark.parametrize(("given", "lists"), [(6, 2), (2, 1), (None, CPU_ROWS // 3)])
def test_lists_have_as_many_targets_a_batch_as_rows_have(given, lists):
    parts, params = parallel_parts(tiny.model("ctc")), tiny.params("ctc")
    step = make_list_score_step(parts, ONE, 3)
    machine = Machine(DataConfig(decode_rows=given), ONE, Processes())
    assert machine.rows(step, params, RowSizes(targets=3))(4) == lists
    ahead = Target(ONE, {"student": tiny.model("ctc")}, 60, given, device_memory(ONE))
    assert score_program("student", ahead, width=4, targets=3).make().pairs == 3 * lists


def test_other_failures_of_a_device_are_not_explained_away():
    def step(rows):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        list(each_batch(step, [batch(4, 8, 8, 0)], Machine(DataConfig(), ONE, Processes())))


@pytest.mark.parametrize("rows", quick([None, 3], [3]))
def test_lists_have_the_scores_of_their_targets(rows):
    """Rows of one to three targets, of one that is longer than the buckets, and none at all."""
    source, (first, second, third) = sentences(7, 0), (sentences(7, seed) for seed in (1, 2, 3))
    second[4] = np.array([*tiny.WORDS * 2, EOS], np.int32)
    lists = [Row(n, source[n], [first[n], second[n], third[n]][: 1 + n % 3], "", "") for n in range(7)]
    params = tiny.params("ctc")
    data = DataConfig(buckets=(2, tiny.MAX_LENGTH), decode_rows=rows)
    model = CompiledModel(tiny.model("ctc"), data, ONE)
    found = model.score_lists(params, lists)
    assert [len(scores) for scores in found] == [1, 2, 3, 1, 2, 3, 1]
    assert max(len(target) for row in lists for target in row.targets) > tiny.MAX_LENGTH
    for row, scores in zip(lists, found, strict=True):
        pairs = sentence_pairs([row.source] * len(row.targets), row.targets)
        np.testing.assert_allclose(scores, model.score(params, pairs), rtol=2e-5, atol=2e-5)
    assert model.score_lists(params, []) == []


@pytest.mark.parametrize(("family", "targets"), [("ar", 2), ("ctc", 1), ("ctc", 2)])
def test_a_process_without_rows_scores_beside_the_others(monkeypatch, family, targets):
    """It has no batches, and takes part in all that they agree on."""
    monkeypatch.setattr(watchdog, "BEAT_SECONDS", 0.05)
    store, params = Texts(), tiny.params(family)
    processes = [Processes(index, 2, store) for index in range(2)]
    lists = [Row(0, sentences(1, 0)[0], sentences(targets, 1), "", "")]

    found = {}

    def score(process: Processes) -> None:
        data = DataConfig(buckets=(tiny.MAX_LENGTH,), decode_rows=4)
        model = CompiledModel(tiny.model(family), data, ONE, process)
        found[process.index] = model.score_lists(params, [] if process.index else lists)

    # Daemons, so that one that waits forever does not keep the tests from ending.
    threads = [threading.Thread(target=score, args=(process,), daemon=True) for process in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    for process in processes:
        process._peers.watchdog.stop()
    assert [len(scores) for scores in found[0]] == [targets] and found[1] == []
