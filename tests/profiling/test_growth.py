"""The places that are measured, their children, and the cost of a run."""

import json
import sys
import time

import numpy as np
import pytest

from emnat_jax.errors import UserError
from emnat_jax.profiling import growth_point
from emnat_jax.profiling.growth import QUANTITIES, STAGES, Models, Plan, Task, lines_of, measure_growth
from emnat_jax.profiling.growth_point import measure
from emnat_jax.profiling.growth_stages import MAKE, Bench, Ready
from emnat_jax.profiling.process_memory import reset_peak
from emnat_jax.report.growth import Place
from tests.profiling.fakes import Clock

BASE = Place(sentences=5, length=5, batch=4, candidates=2, vocab=40)
MODELS = Models("tiny", "vanilla", shard_rows=3)
MEGABYTES_64 = 8 * 2**20  # numbers of 8 bytes
# A child that takes a second a sentence and is killed at 20; its memory is what it inherits of the allocator.
CHILD = """
import json, os, signal, sys
task = json.load(open(f"{sys.argv[1]}/task.json"))
count = task["place"]["sentences"]
if count == 20:
    os.kill(os.getpid(), signal.SIGKILL)
if count == 40:
    raise ValueError("too many")
cost = dict(seconds=float(count), runs=1, first_seconds=1.0, memory_bytes=5, process_bytes=9)
cost["memory_bytes"] += len(os.environ.get("GLIBC_TUNABLES", ""))
machine = dict(devices="1 x cpu", cores=1, cpu=None, platform="x", python="3", versions={})
json.dump({"schema_version": 2, "cost": cost, "machine": machine}, open(f"{sys.argv[1]}/measured.json", "w"))
"""


def test_every_stage_is_made_and_depends_on_something_known():
    assert MAKE.keys() == STAGES.keys()
    assert all(names and set(names) <= set(QUANTITIES) for names in STAGES.values())


def test_one_quantity_grows_at_a_time_and_the_base_is_measured_once():
    plan = Plan(MODELS, BASE, 3, lines_of(["select", "read"], ["sentences", "length"]))
    assert plan.lines == [("select", "sentences"), ("read", "sentences"), ("read", "length")]
    tasks = [(task.stage, task.place.sentences, task.place.length) for task in plan.tasks()]
    select = [("select", count, 5) for count in (5, 10, 20)]
    read = [("read", 5, 5), ("read", 10, 5), ("read", 20, 5), ("read", 5, 10), ("read", 5, 20)]
    assert tasks == select + read


@pytest.mark.parametrize(
    ("stages", "vary", "says"),
    [
        (["select", "sleep"], ["length"], "--stages: sleep: give some of prepare"),
        (["select"], ["width"], "--vary: width: give some of sentences"),
        (["read", "read"], ["length"], "--stages=read,read: name each once"),
        (["read", "beam"], ["vocab"], "read depends on sentences, length alone"),
    ],
)
def test_stages_and_quantities_that_are_not_there_are_refused(stages, vary, says):
    with pytest.raises(UserError, match=says):
        lines_of(stages, vary)


def test_places_that_fail_are_named_and_the_others_count(tmp_path, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.mmap_max=0")  # would hide what a run takes
    child = tmp_path / "child.py"
    child.write_text(CHILD)
    said = []
    plan = Plan(MODELS, BASE, 4, [("read", "sentences")])
    found = measure_growth(plan, [sys.executable, str(child)], said.append)
    (line,) = found.series
    assert line.values == (5, 10) and line.time_exponent == pytest.approx(1.0)
    assert [cost.memory_bytes for cost in line.costs] == [5, 5] and line.memory_exponent == 0.0
    killed, failed = found.failed
    assert killed.startswith("read (sentences 20, length 5): ended by signal 9") and "memory" in killed
    assert failed == "read (sentences 40, length 5): ValueError: too many" and len(said) == 4
    few = plan._replace(points=2, base=Place(20, 5, 4, 2, 40))
    with pytest.raises(UserError, match="no stage could be measured at two places: .*signal 9"):
        measure_growth(few, [sys.executable, str(child)])


@pytest.mark.slow
@pytest.mark.skipif(not reset_peak(), reason="the system does not let the peak start anew")
def test_the_memory_is_that_of_a_run_and_of_the_arrays_before_it(monkeypatch):
    monkeypatch.setattr(growth_point, "_array_bytes", lambda: 1000)
    monkeypatch.setattr(growth_point, "LEAST_SECONDS", 0.0)

    def used(large):
        return measure(
            Ready(lambda: np.ones(4 * MEGABYTES_64), lambda: np.ones(large).sum()), time.process_time
        ).memory_bytes

    first, second = used(MEGABYTES_64), used(2 * MEGABYTES_64)
    assert 60 < first / 2**20 < 90 and 55 < (second - first) / 2**20 < 75  # not what the first run took
    assert 1000 <= used(1) < 30 * 2**20


def test_the_fastest_of_several_runs_counts(monkeypatch):
    clock, times = Clock(monkeypatch), iter([9.0, 2.0, 3.0, 4.0])

    def run():
        clock.now += next(times)

    cost = measure(Ready(run, run), lambda: clock.now)
    assert (cost.first_seconds, cost.seconds, cost.runs) == (9.0, 2.0, 3)


def rows_of(folder):
    """Rows and shards of each finished set, in order of making."""
    made = sorted(folder.glob("*/MANIFEST.json"), key=lambda path: path.stat().st_mtime_ns)
    found = [json.loads(path.read_text()) for path in made]
    return [(one["kind"], one["rows_out"], len(one["shards"])) for one in found]


COMPILED = ("train-teacher", "train-student", "greedy", "beam", "n-best", "score")  # models, seconds each
each_stage = pytest.mark.parametrize(
    "stage", [pytest.param(stage, marks=pytest.mark.slow) if stage in COMPILED else stage for stage in STAGES]
)


@each_stage
def test_a_stage_runs_on_what_was_made_for_it(stage, tmp_path):
    ready = MAKE[stage](Bench(Task(stage, BASE, MODELS), tmp_path))
    ready.first()
    before = len(rows_of(tmp_path))
    ready.run()
    ready.run()  # nothing is in the way of a second one
    kind = {"n-best": "candidates", "score": "candidates", "select": "selected", "select-drift": "selected"}
    made = rows_of(tmp_path)[before:]
    assert made == ([(kind[stage], 5, 2)] * 2 if stage in kind else [])
