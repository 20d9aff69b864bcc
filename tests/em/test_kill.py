"""Kill an EM run with SIGKILL anywhere and start it again: the same bytes as an unbroken run, dropout on."""

import json
import random
import signal

import pytest

from emnat_jax.artifacts.records import shard_name
from emnat_jax.artifacts.shards import keep_shards_of
from emnat_jax.em import driver
from emnat_jax.em.plan import make_plan
from tests.data.rows import random_rows
from tests.em.runs import finished_run, run_in_child, small_config, workspace

# Writes that each life of one run is given; together they lead through every kind of stage.
LIVES = (3, 8, 9, 10, 9, 12, 14)


def without_times(report: dict) -> dict:
    return {name: value for name, value in report.items() if name not in ("seconds", "environment")}


def outcome(directory, *, report: bool = True) -> dict:
    """Everything that must not depend on interruptions, with the report of a run or without."""
    manifests = {
        str(path.relative_to(directory)): {
            k: v for k, v in json.loads(path.read_text()).items() if k != "created"
        }
        for path in sorted(directory.rglob("MANIFEST.json"))
    }
    metrics = {
        str(path.relative_to(directory)): [
            untimed(json.loads(line)) for line in path.read_text().splitlines()
        ]
        for path in sorted(directory.rglob("metrics.jsonl"))
    }
    pages = without_times(json.loads((directory / "report" / "report.json").read_text())) if report else None
    outputs = {
        path.name + path.parent.parent.name: path.read_text() for path in directory.rglob("outputs/*.txt")
    }
    return {"manifests": manifests, "metrics": metrics, "report": pages, "outputs": outputs}


def untimed(line: dict) -> dict:
    return {k: v for k, v in line.items() if "per_second" not in k}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return outcome(finished_run(tmp_path_factory))


def test_the_unbroken_run_has_something_to_lose(unbroken):
    assert (
        len(unbroken["manifests"]) == 3 + 1 + 2 * 2 + 1 + 2 + 3
    )  # data, vocab, models, control, sets, E-step
    assert [item["round"] for item in unbroken["report"]["rounds"]] == [0, 1]
    assert all(len(lines) >= 3 for lines in unbroken["metrics"].values())


def test_what_a_kill_after_the_manifest_leaves_is_taken_away(tmp_path, monkeypatch):
    """The stage is finished, and is not run again."""
    stage = next(stage for stage in make_plan(small_config()) if stage.kind == "distill")
    monkeypatch.setattr(type(stage), "is_finished", lambda *_: True)
    folder = tmp_path / stage.output
    keep_shards_of(folder, {"a": 1}).write(shard_name(0, 1), random_rows(2))
    assert driver._is_whole(workspace(tmp_path), stage)
    assert sorted(path.name for path in folder.iterdir()) == ["index-00000-of-00001", shard_name(0, 1)]


@pytest.mark.slow
def test_killed_again_and_again_and_resumed(unbroken, tmp_path):
    """One workdir, seven lives: each gets a little further."""
    directory = tmp_path / "run"
    killed = [run_in_child(directory, kill_at=writes) == -signal.SIGKILL for writes in LIVES]
    assert sum(killed) >= 6
    assert run_in_child(directory) == 0
    assert outcome(directory) == unbroken


@pytest.mark.slow
@pytest.mark.parametrize("kill", range(1, 80, 3))
def test_killed_at_one_moment_and_resumed(unbroken, tmp_path, kill):
    directory = tmp_path / "run"
    code = run_in_child(directory, kill_at=kill)
    assert code in (-signal.SIGKILL, 0)
    if code:
        assert run_in_child(directory) == 0
    assert outcome(directory) == unbroken


@pytest.mark.slow
def test_killed_at_random_moments_until_done(unbroken, tmp_path):
    rng = random.Random(5)
    for _ in range(40):
        if run_in_child(tmp_path / "run", kill_at=rng.randint(2, 15)) == 0:
            break
    assert run_in_child(tmp_path / "run") == 0
    assert outcome(tmp_path / "run") == unbroken
