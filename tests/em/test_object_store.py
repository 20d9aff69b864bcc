"""A whole EM run in an object store: the clients are the real ones, the store is on this machine."""

import importlib.util
import signal
import time

import pytest

from tests import joint
from tests.em.test_kill import outcome
from tests.em.test_processes import CONFIG, emnat
from tests.object_store import object_store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("gcsfs") is None, reason="the extra `gcs` is not installed"),
]


def test_two_processes_killed_and_started_again_make_the_run_of_a_disk(tmp_path, monkeypatch):
    emnat(2, 1, "em", tmp_path / "disk")
    with object_store() as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        processes = joint.launch(2, 1, ["emnat_jax", "em", f"--config={CONFIG}", "--workdir=gs://bucket/run"])
        while not any(name.startswith("run/rounds/0/teacher/checkpoints/") for name in tuple(store.objects)):
            time.sleep(0.5)
            assert all(process.poll() is None for process in processes), joint.outputs(processes)
        for process in processes:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert not any("rounds/1" in name for name in store.objects)
        emnat(2, 1, "em", "gs://bucket/run")
        store.copy_to(tmp_path)
    assert outcome(tmp_path / "run") == outcome(tmp_path / "disk")
