"""Processes: what they agree on, how they notice a loss, and that a run is the same on any number of them."""

import concurrent.futures
import contextlib
import dataclasses
import json
import signal
import threading
import time

import pytest

from emnat_jax.errors import RESTART_STATUS, UserError
from emnat_jax.report.record import Environment
from emnat_jax.runtime import watchdog
from emnat_jax.runtime.processes import Processes, start
from tests import joint
from tests.texts import Texts
from tests.training import runs


@pytest.fixture
def three(monkeypatch):
    monkeypatch.setattr(watchdog, "BEAT_SECONDS", 0.05)
    store = Texts()
    processes = [Processes(index, 3, store) for index in range(3)]
    yield processes
    for process in processes:
        process._peers.watchdog.stop()


def each(processes, function) -> list:
    """What `function` gives for every process, at the same time; errors as values."""
    with concurrent.futures.ThreadPoolExecutor(len(processes)) as pool:
        futures = [pool.submit(function, process) for process in processes]
    return [future.exception() or future.result() for future in futures]


def test_the_first_decides_for_all(three):
    called = []

    def decide(process):
        for number in range(3):
            answer = process.broadcast(
                "same name", lambda n=number: called.append(process.index) or {"number": n}
            )
            assert answer == {"number": number}
        return answer

    assert each(three, decide) == [{"number": 2}] * 3
    assert called == [0, 0, 0]


def test_an_error_of_the_first_is_everybodys(three):
    def refuse():
        raise UserError("no such corpus")

    errors = each(three, lambda process: process.broadcast("prepare", refuse))
    assert [type(error) for error in errors] == [UserError] * 3
    assert {str(error) for error in errors} == {"no such corpus"}


def test_everybody_hears_everybody_in_order(three):
    assert each(three, lambda process: process.gather("shards", [process.index])) == [[[0], [1], [2]]] * 3


def test_a_place_that_some_do_not_reach_is_told_apart(three):
    assert each(three, lambda process: process.all_reach("all of us", 30.0)) == [True] * 3
    assert each(three[:2], lambda process: process.all_reach("two of us", 0.2)) == [False] * 2
    assert Processes().all_reach("alone", 0.0)


def test_a_record_reaches_everybody(three):
    """Records are no JSON: what travels is their text."""
    record = Environment("1 x cpu", "linux", "3.11", {"jax": "0.10.2", "flax": None})
    heard = each(three, lambda process: process.broadcast_record("report", Environment, lambda: record))
    assert heard == [record] * 3
    assert Processes().broadcast_record("report", Environment, lambda: record) is record


def test_alone_nothing_is_shared():
    alone = Processes()
    thing = object()
    assert (
        alone.is_first
        and alone.broadcast("x", lambda: thing) is thing
        and alone.gather("x", thing) == [thing]
    )
    alone.leave(3)  # does not end the process


class Ended(Exception):
    """Stands for os._exit."""


@pytest.fixture
def watched(monkeypatch):
    """A watch that is never started, of process 0 of 2, whose end is an exception with the status."""

    def end(status):
        raise Ended(status)

    monkeypatch.setattr(watchdog.os, "_exit", end)
    monkeypatch.setattr(watchdog, "BEAT_SECONDS", 0.05)
    return watchdog.Watchdog(0, 2, Texts(), "here")


def sign(**about) -> str:
    return json.dumps({"host": "there", "stage": "rounds/0/teacher", **about})


def test_the_first_ends_last(monkeypatch):
    """With it the store ends, in which the others read why."""
    monkeypatch.setattr(watchdog, "BEAT_SECONDS", 0.1)
    ended, store = [], Texts()

    def end(status):
        ended.append((threading.current_thread().name, status))
        raise SystemExit

    monkeypatch.setattr(watchdog.os, "_exit", end)
    dogs = [watchdog.Watchdog(index, 3, store, "here") for index in range(3)]

    def watch(dog):
        with contextlib.suppress(SystemExit):
            dog._run()

    threads = [threading.Thread(target=watch, args=(dog,), name=str(index)) for index, dog in enumerate(dogs)]
    dogs[1].start()
    dogs[1].fail(RESTART_STATUS, "told to end")
    begin = time.monotonic()
    threads[0].start()
    time.sleep(0.05)
    threads[2].start()
    for thread in (threads[0], threads[2]):
        thread.join(30)
    assert ended == [("2", RESTART_STATUS), ("0", RESTART_STATUS)]
    assert time.monotonic() - begin < 5 * watchdog.BEAT_SECONDS


def test_a_silent_process_is_named(watched, monkeypatch, capsys):
    now = time.monotonic()
    monkeypatch.setattr(watchdog.time, "monotonic", lambda: now)
    for beat in range(3):  # as long as it beats, nothing happens
        now += watchdog.TIMEOUT_SECONDS - 1
        watched._check({"0": sign(beat=beat), "1": sign(beat=beat)}, {})
    now += watchdog.TIMEOUT_SECONDS - 1
    watched._check({"0": sign(beat=9), "1": sign(beat=2)}, {})
    now += 2
    with pytest.raises(Ended, match=str(RESTART_STATUS)):
        watched._check({"0": sign(beat=10), "1": sign(beat=2)}, {})
    assert (
        "process 1 (host there, in 'rounds/0/teacher') has given no sign of life for 31 s"
        in capsys.readouterr().err
    )


def test_a_process_that_never_spoke_is_missed(watched, monkeypatch):
    now = time.monotonic() + watchdog.TIMEOUT_SECONDS + 1
    monkeypatch.setattr(watchdog.time, "monotonic", lambda: now)
    with pytest.raises(Ended):
        watched._check({"0": sign(beat=1)}, {})


def test_a_failed_process_is_quoted(watched, capsys):
    with pytest.raises(Ended, match="2"):
        watched._check({}, {"1": sign(message="the disk is full", status=2)})
    assert "process 1 (host there, in 'rounds/0/teacher') ended: the disk is full" in capsys.readouterr().err


def test_half_an_address_is_refused(monkeypatch):
    for variable in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        monkeypatch.delenv(variable, raising=False)
    assert start().count == 1
    with pytest.raises(UserError, match="--processes, --process missing"):
        start(coordinator="host:1")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
    with pytest.raises(UserError, match="JAX_NUM_PROCESSES='two'"):
        start()


def joint_run(directory, count, devices, steps, *sizes):
    command = ["tests.training.joint_run", str(directory), str(steps), *map(str, sizes)]
    results = joint.outputs(joint.launch(count, devices, command))
    assert [status for status, _ in results] == [0] * count, results
    return {text.splitlines()[-1] for _, text in results}


@pytest.mark.slow
def test_two_processes_go_on_where_one_stopped(tmp_path):
    """1 x 4 devices, then 2 x 2 with another mesh: the same batches, the same losses to rounding."""
    whole = runs.train(tmp_path / "whole", on=runs.layout(4), flops=runs.positions)
    short = dataclasses.replace(runs.CONFIG, steps=6)  # at the end of a log window
    runs.train(tmp_path / "parts", short, on=runs.layout(4))
    ends = joint_run(tmp_path / "parts", 2, 2, runs.CONFIG.steps, 2, 1)
    assert len(ends) == 1  # both processes end with the same parameters
    assert float(ends.pop().split()[1]) == pytest.approx(whole.valid_loss, rel=1e-5)
    unbroken, resumed = runs.lines(tmp_path / "whole"), runs.lines(tmp_path / "parts")
    resumed = [
        line for line in resumed if line["step"] != 6 or "loss" in line
    ]  # the short run's last evaluation
    for one, other in zip(unbroken, resumed, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    rates = [runs.positions_a_token(tmp_path / name) for name in ("whole", "parts")]
    assert rates[1] == pytest.approx(rates[0])  # both are of all processes


@pytest.mark.slow
@pytest.mark.parametrize(
    "layouts", [((4, 1, 1, 1), (2, 2, 1, 2)), ((2, 2, 2, 1), (1, 1, 1, 1), (4, 1, 1, 1))]
)
def test_any_processes_go_on_where_others_stopped(tmp_path, layouts):
    whole = runs.train(tmp_path / "whole", on=runs.layout(4))
    for steps, (count, devices, *sizes) in zip((2, 4, 8)[-len(layouts) :], layouts, strict=True):
        ends = joint_run(tmp_path / "parts", count, devices, steps, *sizes)
    assert float(ends.pop().split()[1]) == pytest.approx(whole.valid_loss, rel=1e-5)


@pytest.mark.slow
def test_the_same_processes_resume_to_the_same_bits(tmp_path):
    whole = joint_run(tmp_path / "whole", 2, 2, 8, 1, 1)
    joint_run(tmp_path / "parts", 2, 2, 4, 1, 1)
    assert joint_run(tmp_path / "parts", 2, 2, 8, 1, 1) == whole


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_others_within_a_minute(tmp_path, victim):
    command = ["tests.training.joint_run", str(tmp_path), "100000", "1", "1", "0.02"]
    processes = joint.launch(2, 1, command)
    joint.wait_for_line(tmp_path / "metrics.jsonl", processes)
    time.sleep(3)
    processes[victim].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    status, text = joint.outputs(processes)[1 - victim]
    assert time.monotonic() - killed < 60
    assert status != 0
    if victim == 1:  # the loss of the first is JAX's own to report
        assert status == RESTART_STATUS and "process 1 (host " in text and "after step" in text, text
