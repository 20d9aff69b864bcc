"""Single damages to a workdir, finished or not: no command uses one silently; the doctor finds and mends it.

`./launch/test.sh -m slow tests/em/test_damages.py` takes 600 of them, in about two hours on one core;
test_damage.py has the kinds of damages one by one, in the normal suite.
"""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from emnat_jax.cli.main import main
from tests.em.damages import Answer, Damage, answer, answers, damages, sample, spoiled, used_silently
from tests.em.kills import ENDED, Kill, emnat
from tests.em.runs import finished_run, run_em
from tests.em.test_kills import COMMANDS, made, words_of

MANY, PARTS = 600, 12
OF_HALVES = 40


class Base(NamedTuple):
    """A finished workdir, and what the commands answer where nothing is wrong with it."""

    directory: Path
    whole: dict[str, Answer]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Base:
    """Made in this process, on its devices: what is trained again has the same bits."""
    place = tmp_path_factory.mktemp("whole")
    run_em(place / "base")
    shutil.copytree(place / "base", place / "run")
    found = {answer.command: answer for answer in answers(place / "run")}
    assert not any(answer.status for answer in found.values())
    return Base(place / "base", found)


def check(base: Base, place: Path, capsys, damage: Damage) -> None:
    """Every command on a workdir with this damage; then the doctor, and a run that makes it again."""
    copy = spoiled(base.directory, place, damage)
    ill = spoiled(base.directory, place / "ill", damage)
    found = list(answers(copy))
    for one in found:
        assert not used_silently(base.whole[one.command], one), (damage, one)
        assert one.status in (0, 2) and "Traceback" not in one.said, (damage, one)
    status = main(["doctor", f"--workdir={ill}", "--repair"])
    said = "".join(capsys.readouterr())
    assert status == 2 or not any(one.status for one in found), (damage, said)
    healed = answer(ill, "em")
    if damage.may_stay and healed.status == 2:
        assert damage.place in healed.said and "Traceback" not in healed.said, (damage, healed)
    else:
        assert healed.status == 0 and not used_silently(base.whole["em"], healed), (damage, healed, said)
    capsys.readouterr()


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_many_damages(base, tmp_path, capsys, part):
    wrong = []
    for number, damage in enumerate(sample(damages(base.directory), MANY, seed=6)[part::PARTS]):
        try:
            check(base, tmp_path / str(number), capsys, damage)
        except Exception as error:  # noqa: BLE001 - the others are looked at all the same
            wrong.append((damage, f"{type(error).__name__}: {error}"))
        shutil.rmtree(tmp_path / str(number))
    assert not wrong, "\n\n".join(map(str, wrong))


@pytest.mark.slow
@pytest.mark.parametrize("write", [4, 9])
@pytest.mark.parametrize("name", COMMANDS)
def test_damages_to_what_a_killed_command_left(tmp_path_factory, tmp_path, name, write):
    """Run again it makes what an undisturbed one makes, or says which file it cannot use."""
    run, log = tmp_path / "run", tmp_path / "log"
    shutil.copytree(finished_run(tmp_path_factory), run)
    output, number = COMMANDS[name].output, next(iter(ENDED))
    assert emnat(words_of(name, run, tmp_path / "whole"), log) == 0
    whole = made(tmp_path / "whole" / output)
    if emnat(words_of(name, run, tmp_path / "half"), log, Kill(write, number)) == 0:
        pytest.skip("it is done before the signal comes")
    kept = [
        damage
        for damage in damages(tmp_path / "half")
        if damage.kind not in ("swap", "linked") and damage.place != "lines"
    ]
    wrong = []
    for damage in sample(kept, OF_HALVES, seed=write):
        shutil.rmtree(tmp_path / "ill", ignore_errors=True)
        shutil.copytree(tmp_path / "half", tmp_path / "ill")
        damage.do(tmp_path / "ill")
        log.unlink()
        status = emnat(words_of(name, run, tmp_path / "ill"), log)
        said = log.read_text()
        if status == 2:
            is_right = str(tmp_path / "ill") in said and "Traceback" not in said
        else:
            is_right = status == 0 and made(tmp_path / "ill" / output) == whole
        wrong += [] if is_right else [(damage, status, said)]
    assert not wrong, "\n\n".join(map(str, wrong))
