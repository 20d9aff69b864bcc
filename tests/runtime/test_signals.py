"""Outside a training SIGINT and SIGTERM end a command within seconds, with a line and no traceback."""

import os
import signal
import subprocess
import sys
import time

import pytest

from emnat_jax.runtime.messages import say

# It says when it can be told; `deaf`: the main thread does not come back, as in a long compilation.
PROGRAM = """
import sys, time
from emnat_jax.cli import main, evaluate

def run(args, config, processes):
    while True:
        try:
            print("ready", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            if not {deaf}:
                raise

evaluate.run = run
sys.argv[1:] = ["evaluate"]
sys.exit(main.main())
"""
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 75, signal.SIGHUP: 75}


def start(program: str, **options) -> subprocess.Popen:
    """A program that is ready to be told."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    process = subprocess.Popen([sys.executable, "-c", program], **pipes)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("deaf", [False, True])
@pytest.mark.parametrize(
    ("number", "word"),
    [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")],
    ids=["int", "term", "hup"],
)
def test_a_command_that_is_told_ends_soon(number, word, deaf):
    process, status = start(PROGRAM.format(deaf=deaf)), STATUS[number]
    begin = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - begin < 8
    assert process.returncode == status
    assert errors.startswith("emnat evaluate: ") and word in errors and len(errors.splitlines()) == 1
    assert "what is finished is kept" in errors and "run it again" in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["int", "term"])
def test_told_again_and_again_it_ends_as_when_told_once(number):
    """Also while it is on its way out."""
    process = start(PROGRAM.format(deaf=False))
    while process.poll() is None:
        process.send_signal(number)
        time.sleep(0.003)
    assert process.returncode == STATUS[number]
    assert len(process.communicate()[1].splitlines()) == 1


BEGINNING = """
import importlib, os, signal, sys
from emnat_jax.cli import main
real = importlib.import_module

def import_module(name):
    if name.startswith("emnat_jax.cli."):
        os.kill(os.getpid(), signal.SIGTERM)
    return real(name)

print("ready", flush=True)
importlib.import_module = import_module
sys.argv[1:] = ["evaluate", "--help"]
sys.exit(main.main())
"""


def test_told_while_it_imports_what_it_needs():
    process = start(BEGINNING)
    assert process.wait(30) == 75 and len(process.communicate()[1].splitlines()) == 1


@pytest.mark.parametrize("deaf", [False, True])
def test_it_ends_also_where_nobody_reads_what_it_says(deaf):
    reader, writer = os.pipe()
    os.close(reader)
    process = start(PROGRAM.format(deaf=deaf), stderr=writer)
    os.close(writer)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 75
    process.stdout.close()


def test_a_line_that_nobody_reads_stops_nothing(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        say("the first")
        say("the second")
    monkeypatch.setattr(sys, "stderr", stream)  # closed
    say("the third")
