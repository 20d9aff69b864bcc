"""What does not fit is found out before the first training, and the advice that is given helps."""

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from emnat_jax.config.convert import assign, from_dict, to_dict
from emnat_jax.em import sizes
from emnat_jax.em.plan import make_plan
from emnat_jax.em.stages.programs import Target
from emnat_jax.em.workdir import Workspace
from emnat_jax.errors import UserError
from emnat_jax.runtime.memory import Memory
from tests.em.runs import run_em, small_config, workspace


@pytest.fixture
def prepared(monkeypatch):
    """As if the workdir had a vocabulary: nothing else of it is looked at."""
    monkeypatch.setattr(Workspace, "vocabulary", SimpleNamespace(size=60))


def with_advice(config, message: str):
    """The configuration with the first options that a message names."""
    values = to_dict(config)
    first = re.split(r", | or ", message.split(";", 1)[1])[0]
    for key, value in re.findall(r"--config\.([\w.]+)=(\w+)", first):
        assign(values, key, int(value))
    return from_dict(values)


def followed(monkeypatch, config, size: int, output: str = "") -> list[str]:
    """The messages until the stages whose output ends so fit, the advice of each followed."""
    monkeypatch.setattr(sizes, "device_memory", lambda layout: Memory(size))
    messages = []
    for _ in range(8):
        stages = [stage for stage in make_plan(config) if stage.output.endswith(output)]
        try:
            sizes.require_sizes(workspace(Path("nowhere"), config), stages)
            return messages
        except UserError as error:
            messages.append(str(error))
            config = with_advice(config, messages[-1])
    raise AssertionError(f"the advice does not help: {messages[-1]}")


def test_a_list_that_is_too_large_is_refused_before_anything_is_trained(tmp_path, monkeypatch):
    config = small_config()
    data = dataclasses.replace(config.data, decode_rows=16_384)
    monkeypatch.setattr(sizes, "device_memory", lambda layout: Memory(1 << 23))
    with pytest.raises(UserError, match=r"rounds/0/\w+: the program .*--config\.data\.decode_rows=8192"):
        run_em(tmp_path, dataclasses.replace(config, data=data))
    assert not (tmp_path / "rounds").exists()


def test_fewer_rows_help(prepared, monkeypatch):
    config = small_config()
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, decode_rows=4_096))
    messages = followed(monkeypatch, config, 1 << 24, "0/n_best")
    assert messages and all("--config.data.decode_rows=" in message for message in messages)


@pytest.mark.slow
def test_rows_that_are_chosen_fit(prepared, monkeypatch):
    config = small_config()
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, decode_rows=None))
    assert followed(monkeypatch, config, 1 << 22, "0/eval.json") == []


@pytest.mark.slow
def test_a_batch_that_is_too_large_is_cut(prepared, monkeypatch):
    config = small_config()
    data = dataclasses.replace(config.data, batch_tokens=1 << 15, decode_rows=1)
    messages = followed(monkeypatch, dataclasses.replace(config, data=data), 1 << 22, "0/teacher")
    assert messages and all("_train.accumulate=" in message for message in messages)
    assert messages[0].startswith("rounds/0/teacher: the program 'train ar'")


def test_where_the_memory_is_not_known_nothing_is_traced(prepared, monkeypatch):
    def programs(*arguments):
        raise AssertionError

    config = small_config()
    for stage in {type(stage) for stage in make_plan(config)}:
        monkeypatch.setattr(stage, "programs", programs)
    sizes.require_sizes(workspace(Path("nowhere"), config), make_plan(config))


def test_every_step_that_an_evaluation_takes_is_declared(prepared):
    """Those on the sentences with several references are the same: cut to the same widths."""
    config = small_config()
    work = workspace(Path("nowhere"), config)
    models = {
        role: config.role(role).model.resolve(work.vocabulary.size, 8) for role in ("teacher", "student")
    }
    target = Target(work.layout, models, work.vocabulary.size, 4, Memory(None))
    (stage,) = (stage for stage in make_plan(config) if stage.output == "rounds/0/eval.json")
    names = {program.name for program in stage.programs(stage.options(config), target)}
    count = config.evaluation.rescored_candidates
    assert names == {
        "distill with ar",
        "decode with vanilla",
        "score with ar",
        "score with vanilla",
        "loss of vanilla",
        "alternatives of vanilla",
        f"{count} of vanilla rescored with ar",
    }


def test_programs_of_lists_and_of_single_targets_are_both_looked_at(prepared, monkeypatch):
    """Round 0's evaluation scores one target of a source, the E-step after it lists, with one name."""
    looked = []
    monkeypatch.setattr(sizes, "device_memory", lambda layout: Memory(1 << 40))
    monkeypatch.setattr(sizes, "_require_fits", lambda stage, name, call, size: looked.append((stage, name)))
    config = small_config(candidates=3)
    sizes.require_sizes(workspace(Path("nowhere"), config), make_plan(config))
    scored = [stage for stage, name in looked if name == f"score with {config.student.family}"]
    assert scored == ["rounds/0/eval.json", "rounds/0/candidates"]
