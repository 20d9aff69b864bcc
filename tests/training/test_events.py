"""metrics.jsonl and the TensorBoard events beside it, on a disk that is full too."""

import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from emnat_jax.artifacts.records import read_payloads
from emnat_jax.errors import UserError
from emnat_jax.training.metrics import MetricsWriter


def messages(path: Path) -> Iterator:
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    return map(event_pb2.Event.FromString, read_payloads(path))


def test_events_are_the_lines(tmp_path):
    for begin in (0, 2):
        with MetricsWriter(tmp_path, begin, print) as writer:
            for step in range(begin + 1, begin + 4):
                writer.write(step, {"loss": 0.5 * step, "lr": 0.25})
    paths = sorted((tmp_path / "tensorboard").iterdir())
    version, start, *points = messages(paths[-1])
    assert version.file_version == "brain.Event:2" and version.wall_time > 1e9
    assert (start.step, start.session_log.status) == (3, start.session_log.START)
    found = [(event.step, {v.tag: v.simple_value for v in event.summary.value}) for event in points]
    assert found == [(step, {"loss": 0.5 * step, "lr": 0.25}) for step in (3, 4, 5)]


@pytest.fixture
def limited():
    """Files may have some thousand bytes: the system reports a larger one as it does a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def write_on(directory: Path) -> None:
    with MetricsWriter(directory, 0, print) as writer:
        for step in range(1, 1_000):
            writer.write(step, {"loss": 1.0, "grad_norm": 2.0, "lr": 3.0})


@pytest.mark.parametrize("without_events", [False, True])
def test_a_full_disk_ends_the_training_and_hangs_nothing(tmp_path, monkeypatch, limited, without_events):
    if without_events:
        monkeypatch.setattr("emnat_jax.training.metrics._open_events", lambda *_: None)
    with pytest.raises(UserError, match=r"cannot write .*metrics\.jsonl: File too large; mend that and run"):
        write_on(tmp_path)
