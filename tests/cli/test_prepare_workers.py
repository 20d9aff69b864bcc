"""`emnat prepare` over real processes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from emnat_jax.errors import RESTART_STATUS
from tests import joint
from tests.data.test_prepare import contents

WORDS = ["emnat_jax", "prepare", "--config.data.train_rows=3000", "--config.data.rows_per_shard=200"]


def prepare(workdir, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", *WORDS, f"--workdir={workdir}", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("alone") / "run"
    done = prepare(workdir)
    assert done.returncode == 0, done.stderr
    return {name: data for name, data in contents(workdir).items() if name != "journal.jsonl"}, done.stdout


def same(workdir, expected) -> bool:
    found = contents(workdir)
    del found["journal.jsonl"]  # it has times
    return found == expected


@pytest.mark.slow
def test_workers_make_the_same_bytes_and_one_output(tmp_path, alone):
    expected, said = alone
    done = prepare(tmp_path / "run", "--workers=3")
    assert done.returncode == 0 and same(tmp_path / "run", expected) and done.stdout == said


@pytest.mark.slow
def test_processes_started_by_hand_make_the_same_bytes(tmp_path, alone):
    results = joint.outputs(joint.launch(2, 1, [*WORDS, f"--workdir={tmp_path}/run"]))
    assert [status for status, _ in results] == [0, 0], results
    assert same(tmp_path / "run", alone[0])


@pytest.mark.slow
def test_a_mistake_is_one_line(tmp_path):
    done = prepare(tmp_path, "--workers=2", "--config.data.kind=text", "--config.data.train_tsv=nowhere")
    assert done.returncode == 2 and done.stderr.count("data.train_tsv=nowhere: no such file") == 1


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["first", "other"])
def test_where_one_is_killed_all_end_and_a_run_over_others_goes_on(tmp_path, alone, lost):
    """In the middle of the shards."""
    processes = joint.launch(2, 1, [*WORDS, f"--workdir={tmp_path}/run"])
    while not list((tmp_path / "run/data/train").glob("part-*.tfrecord")):
        time.sleep(0.05)
        assert all(process.poll() is None for process in processes), "a process ended early"
    os.kill(processes[lost == "other"].pid, signal.SIGKILL)
    results = joint.outputs(processes)
    assert all(status != 0 for status, _ in results)
    if lost == "other":
        assert results[0][0] == RESTART_STATUS and "process 1" in results[0][1]
    done = prepare(tmp_path / "run", "--workers=3")
    assert done.returncode == 0 and same(tmp_path / "run", alone[0])
