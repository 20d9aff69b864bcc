"""Sums of metrics on the host, metrics.jsonl and TensorBoard events."""

import contextlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

import jax
import numpy as np
from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.atomic import append, atomic_file, is_local, read_file
from emnat_jax.artifacts.sealed import digest
from emnat_jax.errors import UserError
from emnat_jax.runtime.progress import Log
from emnat_jax.training.events import EventFile
from emnat_jax.types import Mean, Metrics

ROWS_NAMED = 8  # rows that an error about a batch names
Sums = dict[str, list[float]]  # name -> [total, weight], in float64; JSON as it stands


def merge(sums: Sums, metrics: Metrics) -> Sums:
    """`sums` with the samples of `metrics` (on the host) added."""
    old = {name: sums.get(name, [0.0, 0.0]) for name in metrics}
    new = {
        name: [old[name][0] + float(m.total), old[name][1] + float(m.weight)] for name, m in metrics.items()
    }
    return {**sums, **new}


def means(sums: Sums, prefix: str = "") -> dict[str, float]:
    """The mean of each metric, named `prefix` + its name; the loss first."""
    names = sorted(sums, key=lambda name: (name != "loss", name))
    return {prefix + name: Mean(*sums[name]).value() for name in names}


def require_finite(step: int, metrics: Metrics, rows: np.ndarray, remedy: str) -> None:
    """UserError when the loss, the gradient or the new parameters of this step are not finite.

    `rows` are the row numbers of its batch; `remedy` says how the training could be made to hold.
    """
    if all(math.isfinite(metrics[name].total) for name in ("loss", "grad_norm", "param_norm")):
        return
    loss, norm = metrics["loss"].value(), metrics["grad_norm"].value()
    named = ", ".join(str(row) for row in rows[rows >= 0][:ROWS_NAMED])
    raise UserError(
        f"the loss, its gradient or the weights are not finite at step {step} (loss {loss}, gradient norm "
        f"{norm}); the batch begins with rows {named}. Look at these rows, or {remedy}."
    )


class MetricsWriter:
    """Appends to `directory`/metrics.jsonl and, where tensorboardX is installed, to tensorboard/.

    Opening it cuts away what a run that was broken off wrote beyond `step`, so no line is doubled; unless
    `evaluated`, that step's look at the valid split too.
    Only the first process writes. In an object store lines wait for the next `sync`, and there are no events.
    """

    def __init__(self, directory: epath.PathLike, step: int, log: Log, *, evaluated: bool = True):
        self._path = epath.Path(directory) / paths.METRICS
        self._file: IO[str] | None = None
        self._events: EventFile | None = None
        self._unwritten: bytes | None = None  # lines for an object store
        if jax.process_index() != 0:
            return
        with atomic_file(self._path) as file:
            file.write(b"".join(_lines_up_to(self._path, step, evaluated)))
        if is_local(self._path):
            with self._user_errors():
                self._file = self._path.open("a")
                self._events = _open_events(self._path.parent / paths.TENSORBOARD, step, log)
        else:
            self._unwritten = b""

    def write(self, step: int, values: dict[str, float]) -> None:
        """Writes one line, and a point for each curve. Raises UserError when the disk does not take them."""
        line = json.dumps({"step": step, **values}) + "\n"
        with self._user_errors():
            if self._unwritten is not None:
                self._unwritten += line.encode()
            if self._file is not None:
                self._file.write(line)
                self._file.flush()
            if self._events is not None:
                self._events.add(step, values)

    def sync(self) -> None:
        """Puts the lines on the disk; call it before the checkpoint of the same step is saved."""
        with self._user_errors():
            if self._file is not None:
                self._file.flush()
                os.fsync(self._file.fileno())
            if self._events is not None:
                self._events.sync()
            if self._unwritten is not None:
                append(self._path, self._unwritten)
                self._unwritten = b""

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._unwritten is not None:
            self.sync()
        for sink in (self._file, self._events):
            if sink is not None:
                # What the last `sync` has not put on the disk is written again by the run that goes on.
                with contextlib.suppress(OSError):
                    sink.close()

    @contextlib.contextmanager
    def _user_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"cannot write {self._path}: {error.strerror}; mend that and run again."
            ) from error


def read_metrics(directory: epath.PathLike) -> list[dict[str, Any]]:
    """The lines of `directory`/metrics.jsonl, none where it is not there; ValueError for a damaged one."""
    path = epath.Path(directory) / paths.METRICS
    lines = [json.loads(line) for line in read_file(path).splitlines()] if path.exists() else []
    if not all(isinstance(line, dict) for line in lines):
        raise ValueError(f"{path} has a line that is no object")
    return lines


def metrics_digest(lines: Iterable[Mapping[str, Any]]) -> str:
    """A hash of lines without what a clock measured: the same for every run of one training."""
    return digest([{k: v for k, v in line.items() if not k.endswith("_per_second")} for line in lines])


def _lines_up_to(path: epath.Path, step: int, evaluated: bool) -> list[bytes]:
    """The whole lines of `path` that belong to `step` or an earlier one."""
    lines = read_file(path).splitlines(keepends=True) if path.exists() else []
    kept = [line for line in lines if _step_of(line) <= step]
    return [line for line in kept if evaluated or _step_of(line) < step or b'"valid_loss"' not in line]


def _step_of(line: bytes) -> float:
    """The step a line belongs to; infinite for one that a kill cut short, or that is damaged."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return float("inf")


def _open_events(directory: epath.Path, step: int, log: Log) -> EventFile | None:
    """A file of TensorBoard events that hides points beyond `step`; None where the library is missing."""
    try:
        return EventFile(directory, step)
    except ImportError:
        log("tensorboardX is not installed: no TensorBoard events, metrics.jsonl has the same figures.")
        return None
