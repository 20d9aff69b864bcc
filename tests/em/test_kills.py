"""Signals in the middle of any write, by the hundred: what the runs make in the end is the same.

`./launch/test.sh -m slow tests/em/test_kills.py` gives more than 200, half of them SIGKILL and half SIGTERM;
test_kill.py and test_processes.py have more, of one kind. `--junitxml=FILE` counts them: a property of each
test.
"""

import functools
import itertools
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from emnat_jax.config import FAMILIES
from tests.em.kills import CONFIG, ENDED, Kill, emnat, kills, until_done
from tests.em.runs import finished_run
from tests.em.test_kill import outcome

STUDENTS = [name for name in FAMILIES if FAMILIES[name].parallel or name == "cmlm"]
# The default loop: one list of a frozen teacher, a control, folds.
FROZEN = {"update_teacher": "False", "student_data": "selected", "folds": "2"}


def em_words(directory: Path, family: str) -> list[str]:
    options = [f"--config.em.{key}={value}" for key, value in FROZEN.items()]
    return [
        "em",
        f"--config={CONFIG}",
        f"--workdir={directory}",
        f"--config.student.family={family}",
        *options,
    ]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """What an undisturbed run with this family makes."""

    @functools.cache
    def run(family: str) -> dict:
        place = tmp_path_factory.mktemp(family)
        assert emnat(em_words(place / "run", family), place / "log") == 0, (place / "log").read_text()
        return outcome(place / "run")

    return run


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("family", STUDENTS)
def test_a_run_of_any_family_ended_again_and_again(unbroken, tmp_path, record_property, family, seed):
    ended = until_done(em_words(tmp_path / "run", family), tmp_path / "log", kills(seed))
    for number in ENDED:
        record_property(number.name, sum(kill.number == number for kill in ended))
    assert len(ended) >= 15 and {kill.number for kill in ended} == set(ENDED)
    assert outcome(tmp_path / "run") == unbroken(family)


class Made(NamedTuple):
    """A command and what it makes."""

    words: list[str]
    output: str  # file or folder below the one that the command is tried in


R = "{run}/rounds/0"
COMMANDS = {
    "prepare": Made(["prepare", f"--config={CONFIG}", "--workdir={out}"], "."),
    "train": Made(["train", "--role=student", f"--data={R}/distilled", "--output={out}/model"], "model"),
    "distill": Made(
        ["distill", f"--model={R}/teacher", "--num-candidates=2", "--samples=1", "--output={out}/set"], "set"
    ),
    "score": Made(
        ["score", f"--model={R}/student", f"--data={R}/candidates", "--column=again", "--output={out}/set"],
        "set",
    ),
    "select": Made(["select", f"--candidates={R}/candidates", "--output={out}/set"], "set"),
    "translate": Made(["translate", "--input={out}/lines", "--output={out}/translated"], "translated"),
}


def words_of(name: str, run: Path, out: Path) -> list[str]:
    out.mkdir(parents=True, exist_ok=True)
    (out / "lines").write_text("".join(f"s{i % 8} s{i // 8 % 8}\n" for i in range(3_000)))
    words = [word.format(run=run, out=out) for word in COMMANDS[name].words]
    return words if name == "prepare" else [*words, f"--workdir={run}"]


def made(place: Path) -> dict:
    """All that a command has made, without clock times."""
    if place.is_file():
        return {"": place.read_bytes()}
    shards = {str(p.relative_to(place)): p.read_bytes() for p in sorted(place.rglob("*.tfrecord*"))}
    return shards | outcome(place, report=False)


@pytest.mark.slow
@pytest.mark.parametrize("number", ENDED)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_ended_at_each_of_its_writes(tmp_path_factory, tmp_path, record_property, name, number):
    """From the first write on, one signal each, until it is done before the signal comes."""
    shutil.copytree(finished_run(tmp_path_factory), tmp_path / "run")
    whole, log = tmp_path / "whole", tmp_path / "log"
    assert emnat(words_of(name, tmp_path / "run", whole), log) == 0, log.read_text()
    for write in itertools.count(1):
        words = words_of(name, tmp_path / "run", tmp_path / str(write))
        status = emnat(words, log, Kill(write, number))
        if status == 0:
            break
        assert status == ENDED[number], log.read_text()[-2_000:]
        assert emnat(words, log) == 0, log.read_text()[-2_000:]
        output = COMMANDS[name].output
        assert made(tmp_path / str(write) / output) == made(whole / output)
    record_property(number.name, write - 1)
    assert write >= 3


@pytest.mark.parametrize("number", ENDED)
def test_a_set_ended_in_the_middle_of_a_write(tmp_path_factory, tmp_path, number):
    """One of each kind, in the normal suite."""
    run, log = finished_run(tmp_path_factory), tmp_path / "log"
    assert emnat(words_of("select", run, tmp_path / "whole"), log) == 0
    words = words_of("select", run, tmp_path / "ended")
    assert emnat(words, log, Kill(2, number)) == ENDED[number]
    assert emnat(words, log) == 0
    assert made(tmp_path / "ended/set") == made(tmp_path / "whole/set")
