"""The table of tasks, and a task that a configuration file enters."""

import dataclasses
import json
from pathlib import Path

import pytest

from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.artifacts.manifest import load_manifest
from emnat_jax.cli.configuration import read_config
from emnat_jax.config import TASKS, Config, DataConfig
from emnat_jax.config.convert import from_dict, to_dict
from emnat_jax.data.corpora import open_split
from emnat_jax.data.prepare import prepare
from emnat_jax.errors import UserError
from tests.cli.commands import run
from tests.tiny_run import TINY

FILE = Path(__file__).with_name("outside_task.py")


@pytest.fixture(autouse=True)
def table(monkeypatch):
    """What a test enters is gone after it."""
    for name, spec in TASKS.items():
        monkeypatch.setitem(TASKS, name, spec)
    before = set(TASKS)
    yield
    for name in set(TASKS) - before:
        del TASKS[name]


def outside(*arguments: str) -> Config:
    return read_config([f"--config={FILE}", *arguments])


def test_a_task_from_a_configuration_file_is_prepared(tmp_path):
    config = outside("--config.data.reverse.train_rows=30")
    summary = prepare(config, tmp_path, lambda text: None)
    assert (summary["train"]["rows_out"], summary["test"]["rows_out"]) == (30, 24)
    for row in read_dataset(tmp_path / "data/train"):
        assert row.target_text.split() == row.source_text.split()[::-1]
    assert from_dict(to_dict(config)) == config


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("--config.seed=2", "seed was 1 and is 2"),
        ("--config.data.reverse.words=5", "reverse.words was 8 and is 5"),
    ],
)
def test_its_records_depend_on_its_options_and_the_seed(tmp_path, change, says):
    prepare(outside(), tmp_path, lambda text: None)
    options = load_manifest(tmp_path / "data/train").options["prepare"]
    assert options["kind"] == "reverse" and options["reverse"]["length"] == 4
    with pytest.raises(UserError, match=says):
        prepare(outside(change), tmp_path, lambda text: None)


def test_records_of_text_do_not_depend_on_the_seed():
    assert not any(spec.is_seeded for name, spec in TASKS.items() if name != "modes")
    assert list(open_split(DataConfig(), "valid", 1)) == list(open_split(DataConfig(), "valid", 2))


def test_an_unknown_task_is_refused_with_those_there_are():
    with pytest.raises(UserError, match="kind='reverse': choose one of demo, text, tfds, modes"):
        DataConfig(kind="reverse")
    with pytest.raises(UserError, match=r"data\.kind='reversed': choose one of demo, text, tfds, modes"):
        outside("--config.data.kind=reversed")
    with pytest.raises(UserError, match=r"data\.reverse"):
        outside("--config.data.kind=modes", "--config.data.reverse.words=5")


@pytest.mark.slow
def test_a_task_from_a_configuration_file_runs_through_em(tmp_path, capsys):
    code, output = run("em", f"--config={FILE}", *TINY, f"--workdir={tmp_path}", "--json", capsys=capsys)
    assert code == 0
    report = json.loads(output.out)
    assert report["config"]["data"]["reverse"] == dataclasses.asdict(TASKS["reverse"].options())
    for item in report["rounds"]:
        assert 0 <= item["student"]["test"]["share_valid"] <= 1
    assert 0 <= report["rounds"][0]["selection"]["share_valid"] <= 1
