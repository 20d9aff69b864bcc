"""The same bits at the quickstart's sizes, with all threads that there are: trained again, and resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.em.test_kill import untimed

STEPS = ("--config.teacher_train.steps=60", "--config.teacher_train.checkpoint_every=20")
EVERY = "--config.teacher_train.log_every=10"


def command(*words: str) -> subprocess.Popen:
    """The program as a user starts it: without the settings of the tests."""
    quick = {key: value for key, value in os.environ.items() if key not in ("XLA_FLAGS",)}
    return subprocess.Popen([sys.executable, "-m", "emnat_jax", *words], env=quick)


def finish(*words: str) -> None:
    assert command(*words).wait(timeout=1_200) == 0


def outcome(model: Path) -> tuple[str, list[dict]]:
    """Content hash, and what was logged without times."""
    lines = [untimed(json.loads(line)) for line in (model / "metrics.jsonl").read_text().splitlines()]
    return json.loads((model / "MANIFEST.json").read_text())["content_hash"], lines


@pytest.mark.slow
def test_a_training_of_the_quickstart_again_and_resumed(tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    finish("prepare", workdir)
    train = ("train", "--role=teacher", workdir, *STEPS, EVERY)
    outputs = [tmp_path / name for name in ("once", "again", "resumed")]
    for output in outputs[:2]:
        finish(*train, f"--output={output}")
    running = command(*train, f"--output={outputs[2]}")
    metrics = outputs[2] / "metrics.jsonl"
    while not metrics.exists() or metrics.read_text().count("\n") < 2:
        assert running.poll() is None
        time.sleep(0.2)
    running.send_signal(signal.SIGKILL)
    running.wait()
    finish(*train, f"--output={outputs[2]}")
    once, again, resumed = map(outcome, outputs)
    assert once == again == resumed
