"""One stage at one place, measured in this process."""

import time
from collections.abc import Callable
from typing import Any

import jax
from etils import epath

from emnat_jax.profiling.growth import Measured, Task
from emnat_jax.profiling.growth_stages import MAKE, Bench, Ready
from emnat_jax.profiling.machine import this_machine
from emnat_jax.profiling.process_memory import free_unused, peak_bytes, reset_peak, resident_bytes
from emnat_jax.report.growth import Cost

LEAST_RUNS, LEAST_SECONDS, ENOUGH_SECONDS = 3, 0.5, 10.0  # of all runs together


def measure_task(task: Task, folder: epath.PathLike) -> Measured:
    """The cost of a task, whose files lie in `folder` while it runs.

    Its time is that of the processor, which does not count while another process is served, or, where an
    accelerator computes, that on the clock.
    """
    clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
    return Measured(measure(MAKE[task.stage](Bench(task, folder)), clock), this_machine(()))


def measure(stage: Ready, clock: Callable[[], float]) -> Cost:
    """A first run that does not count, then several of which the fastest counts: others were held up.

    The memory is that of the arrays which are there before them (weights, optimizer, batch) and what the
    process takes on top at its peak. Where the system does not let a peak start anew (not Linux), only what
    exceeds the peak before is seen.
    """
    first = _seconds(stage.first, clock)
    free_unused()
    arrays, held = _array_bytes(), resident_bytes() if reset_peak() else peak_bytes()
    seconds = _runs(stage.run, clock)
    peak = peak_bytes()
    return Cost(
        seconds=min(seconds),
        runs=len(seconds),
        first_seconds=first,
        memory_bytes=arrays + max(peak - held, 0),
        process_bytes=peak,
    )


def _runs(run: Callable[[], Any], clock: Callable[[], float]) -> list[float]:
    """Seconds of each: at least so many runs and seconds, but none begins after enough seconds."""
    seconds: list[float] = []
    while sum(seconds) < LEAST_SECONDS or (len(seconds) < LEAST_RUNS and sum(seconds) < ENOUGH_SECONDS):
        seconds.append(_seconds(run, clock))
    return seconds


def _seconds(run: Callable[[], Any], clock: Callable[[], float]) -> float:
    begin = clock()
    run()
    return clock() - begin


def _array_bytes() -> int:
    """Of all arrays of JAX that are in the memory of this process."""
    return sum(array.nbytes for array in jax.live_arrays("cpu")) if jax.default_backend() == "cpu" else 0
