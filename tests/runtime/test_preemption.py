"""Told to end, a run saves after the update at hand and goes on from there, dropout on."""

import contextlib
import http.server
import os
import signal
import threading
import time

import pytest

from emnat_jax.errors import Interrupted, Preempted
from emnat_jax.runtime import preemption
from emnat_jax.runtime.processes import Processes
from emnat_jax.runtime.signals import Signals
from emnat_jax.training.choice import ValidScore
from emnat_jax.training.restore import saved_steps
from tests import joint, tiny_family
from tests.quick import quick
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


def send(number):
    """Sends a signal to this process."""
    return lambda: os.kill(os.getpid(), number)


TOLD = [(signal.SIGTERM, Preempted), (signal.SIGINT, Interrupted)]


@pytest.mark.parametrize(("number", "error"), quick(TOLD, TOLD[:1]))
def test_a_signal_saves_after_the_update_at_hand(tmp_path, number, error):
    whole = runs.train(tmp_path / "whole")
    before, said = signal.getsignal(number), []
    with pytest.raises(error, match="saved after step 5 of 8"):
        runs.train(tmp_path / "told", stream=CallingStream(5, send(number)), log=said.append)
    assert signal.getsignal(number) is before
    assert any("told to end" in text for text in said)
    assert_saved_and_resumed(tmp_path / "told", whole, 5)


def test_ctrl_c_is_a_keyboard_interrupt_to_python_programs():
    assert issubclass(Interrupted, KeyboardInterrupt)


def test_the_second_ctrl_c_does_not_wait(tmp_path):
    def twice():
        send(signal.SIGINT)()
        send(signal.SIGINT)()

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as raised:
        runs.train(tmp_path, stream=CallingStream(5, twice))
    assert not isinstance(raised.value, Interrupted) and signal.getsignal(signal.SIGINT) is before
    assert saved_steps(tmp_path / "checkpoints")[-1] == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_with_the_last_step_is_passed_on(tmp_path, number):
    """The training is done; whoever comes next is told."""
    heard = []
    before = signal.signal(number, lambda *_: heard.append(saved_steps(tmp_path / "checkpoints")))
    try:
        assert runs.train(tmp_path, stream=CallingStream(8, send(number)), valid_batches=None).step == 8
    finally:
        signal.signal(number, before)
    assert [steps[-1] for steps in heard] == [8]


class CallingScore:
    """A look at the valid split that does something in the second of its three parts."""

    def __init__(self, call):
        self._call, self.parts = call, 0

    def __call__(self, params):
        for part in range(3):
            self.parts += 1
            if part == 1:
                self._call()
        return 1.0


def score(call):
    return ValidScore("parts", CallingScore(call), larger_is_better=True)


@pytest.mark.parametrize(
    ("number", "error", "steps"),
    quick(
        [(*told, steps) for told in TOLD for steps in (8, 4)],
        [(signal.SIGTERM, Preempted, 8), (signal.SIGINT, Interrupted, 4)],
    ),
)
def test_a_look_at_the_valid_split_is_not_waited_for(tmp_path, number, error, steps):
    """The run that goes on begins with it, after the last step too; if that one is killed, the next."""
    config = runs.with_config(best_by="bleu", checkpoint_every=3, steps=steps)
    whole = runs.train(tmp_path / "whole", config, valid_score=score(lambda: None))
    told = tmp_path / "told"
    for _ in range(2):
        cut = score(send(number))
        with pytest.raises(error, match=f"saved after step 4 of {steps}"):
            runs.train(told, config, valid_score=cut)
        assert cut.measure.parts == 2 and saved_steps(told / "checkpoints")[-1] == 4
    with pytest.raises(runs.Broken) if steps > 4 else contextlib.nullcontext():
        runs.train(told, config, valid_score=score(lambda: None), stream=runs.BreakingStream(1))
    resumed = runs.train(told, config, valid_score=score(lambda: None))
    assert (resumed.fingerprint, resumed.chosen) == (whole.fingerprint, whole.chosen)
    assert runs.lines(told) == runs.lines(tmp_path / "whole")


@pytest.mark.parametrize(("update", "waits"), [(1, False), (2, True)])
def test_the_very_first_step_is_not_waited_for(tmp_path, update, waits):
    """It may compile for minutes, and there is nothing to save: whoever ends the command hears of it."""
    outer = Signals(quiet=9)
    outer.open()
    try:
        with pytest.raises(Preempted, match=f"saved after step {update} of 8"):
            runs.train(tmp_path, stream=CallingStream(update, send(signal.SIGTERM)))
        heard = outer.wait(0.0)
    finally:
        outer.restore()
        outer.close()
    assert heard == (None if waits else signal.SIGTERM)


def test_an_ignored_signal_stays_ignored(tmp_path):
    """As Ctrl-C is in a job that a shell runs in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert runs.train(tmp_path, stream=CallingStream(5, send(signal.SIGINT))).step == 8
    finally:
        signal.signal(signal.SIGINT, before)


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


@pytest.fixture
def two():
    processes = [Processes(index, 2, store) for store in [Texts()] for index in range(2)]
    yield processes
    for process in processes:
        process._peers.watchdog.stop()


def train_in_thread(process, steps, seconds, ends):
    """A training whose steps take so long; how many it has made is put into `ends`."""

    def train():
        with preemption.PreemptionGuard(process, "run") as notice:
            step = 0
            while not notice.ends_after(step) and step < steps:
                step += 1
                time.sleep(seconds)
            ends[process.index] = step

    thread = threading.Thread(target=train)
    thread.start()
    return thread


def test_all_processes_end_after_the_same_update(two):
    """Whoever is ahead decides; nobody begins an update after having said how far it is."""
    ends = {}
    threads = [train_in_thread(process, 10_000, s, ends) for process, s in zip(two, (0.001, 0.01))]
    time.sleep(0.3)
    two[1].set_flag("preempted", "from outside")
    for thread in threads:
        thread.join(timeout=60)
    assert ends[0] == ends[1] < 10_000


def test_the_next_training_of_the_same_name_agrees_anew(two):
    """As in the next cell of a sweep: what was said in the one before says nothing."""
    ends = {}
    for thread in [train_in_thread(process, 900, 0, ends) for process in two]:
        thread.join(timeout=60)
    assert ends == {0: 900, 1: 900}
    two[1].set_flag("preempted", "from outside")
    first = train_in_thread(two[0], 10_000, 0.01, ends)
    time.sleep(3 * preemption._POLL_SECONDS)
    second = train_in_thread(two[1], 10_000, 0.01, ends)
    for thread in (first, second):
        thread.join(timeout=60)
    assert ends[0] == ends[1] < 900


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
