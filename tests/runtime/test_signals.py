"""Outside a training SIGINT and SIGTERM end a command within seconds, with a line and no traceback."""

import signal
import subprocess
import sys
import time

import pytest

# It says when it can be told; `deaf`: the main thread does not come back, as in a long compilation.
PROGRAM = """
import sys, time
from emnat_jax.cli import main, evaluate

def run(args, config, processes):
    print("ready", flush=True)
    while True:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            if not {deaf}:
                raise

evaluate.run = run
sys.exit(main.main(["evaluate"]))
"""


@pytest.mark.parametrize("deaf", [False, True])
@pytest.mark.parametrize(
    ("number", "status", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 75, "SIGTERM")],
    ids=["int", "term"],
)
def test_a_command_that_is_told_ends_soon(number, status, word, deaf):
    command = [sys.executable, "-c", PROGRAM.format(deaf=deaf)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    begin = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - begin < 8
    assert process.returncode == status
    assert errors.startswith("emnat evaluate: ") and word in errors and len(errors.splitlines()) == 1
    assert "what is finished is kept" in errors and "run it again" in errors
