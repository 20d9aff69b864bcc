"""Told to end, a run saves after the update at hand and goes on from there, dropout on."""

import http.server
import os
import signal
import threading
import time

import pytest

from emnat_jax.errors import Preempted
from emnat_jax.runtime import preemption
from emnat_jax.runtime.processes import Processes
from emnat_jax.training.checkpoint import saved_steps
from tests import joint, tiny_family
from tests.texts import Texts
from tests.training import runs


class CallingStream(tiny_family.Stream):
    """A stream that does something before the batch of one update, and gives others time to react."""

    def __init__(self, update: int, call):
        super().__init__()
        self._update, self._call = update, call

    def __next__(self):
        if self._drawn + 1 == self._update:
            self._call()
            time.sleep(3 * preemption._POLL_SECONDS)
        return super().__next__()


def assert_saved_and_resumed(directory, whole, step):
    """The run in `directory` has ended after `step`, of its own, and goes on to the same bits."""
    assert step == max(saved_steps(directory / "checkpoints")) and step % runs.CONFIG.checkpoint_every
    resumed = runs.train(directory)
    assert resumed.fingerprint == whole.fingerprint
    assert runs.lines(directory) == runs.lines(directory.parent / "whole")


def test_sigterm_saves_after_the_update_at_hand(tmp_path):
    whole = runs.train(tmp_path / "whole")
    before = signal.getsignal(signal.SIGTERM)
    stream = CallingStream(5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Preempted, match="saved after step 5"):
        runs.train(tmp_path / "told", stream=stream)
    assert signal.getsignal(signal.SIGTERM) is before
    assert_saved_and_resumed(tmp_path / "told", whole, 5)


@pytest.fixture
def platform(monkeypatch):
    """A metadata server on this machine; setting its `answer` is the platform's notice."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.headers["Metadata-Flavor"] == "Google" else 403)
            self.end_headers()
            self.wfile.write(self.server.answer)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answer = b"FALSE"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv(preemption.URL_VARIABLE, f"http://127.0.0.1:{server.server_port}/preempted")
    monkeypatch.setattr(preemption, "_URL_SECONDS", preemption._POLL_SECONDS)
    yield server
    server.shutdown()
    server.server_close()


def test_the_platforms_notice_counts_as_well(tmp_path, platform):
    stream = CallingStream(3, lambda: setattr(platform, "answer", b"TERMINATE_ON_HOST_MAINTENANCE"))
    with pytest.raises(Preempted, match="saved after step 3"):
        runs.train(tmp_path, stream=stream)


def test_without_an_answer_nothing_ends(tmp_path, platform, monkeypatch):
    monkeypatch.setenv(preemption.URL_VARIABLE, "http://127.0.0.1:9/nobody")
    assert runs.train(tmp_path, stream=CallingStream(3, lambda: None)).step


def test_all_processes_end_after_the_same_update():
    """Whoever is ahead decides; nobody begins an update after having said how far it is."""
    store, ends = Texts(), {}
    processes = [Processes(index, 2, store) for index in range(2)]

    def train(process, seconds):
        with preemption.PreemptionGuard(process, "run") as notice:
            step = 0
            while not notice.ends_after(step) and step < 10_000:
                step += 1
                time.sleep(seconds)
            ends[process.index] = step

    threads = [threading.Thread(target=train, args=(p, s)) for p, s in zip(processes, (0.001, 0.01))]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    processes[1].set_flag("preempted", "from outside")
    for thread in threads:
        thread.join(timeout=60)
    for process in processes:
        process._peers.watchdog.stop()
    assert ends[0] == ends[1] < 10_000


@pytest.mark.slow
def test_sigterm_to_one_of_two_processes_saves_and_ends_both(tmp_path):
    command = ["tests.training.joint_run", str(tmp_path), "100000", "1", "1", "0.02"]
    processes = joint.launch(2, 1, command)
    joint.wait_for_line(tmp_path / "metrics.jsonl", processes)
    processes[1].send_signal(signal.SIGTERM)
    told = time.monotonic()
    results = joint.outputs(processes)
    assert time.monotonic() - told < 30
    assert all("saved after step" in text and "Preempted" in text for _, text in results), results
    assert saved_steps(tmp_path / "checkpoints")
