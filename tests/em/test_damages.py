"""Single damages to a finished workdir: no command uses one silently, and the doctor finds and mends it.

`./launch/test.sh -m slow tests/em/test_damages.py` takes 600 of them, in two to three hours on one core;
test_damage.py has the kinds of damages one by one, in the normal suite.
"""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from emnat_jax.cli.main import main
from tests.em.damages import Answer, Damage, answers, damages, sample, spoiled, used_silently
from tests.em.runs import run_em

MANY, PARTS = 600, 12


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
    shutil.copytree(copy, place / "ill")
    found = list(answers(copy))
    for answer in found:
        assert not used_silently(base.whole[answer.command], answer), (damage, answer)
        assert answer.status in (0, 2) and "Traceback" not in answer.said, (damage, answer)
    status = main(["doctor", f"--workdir={place / 'ill'}"])
    said = capsys.readouterr().out
    assert status == 2 or not any(answer.status for answer in found), (damage, said)
    main(["doctor", f"--workdir={place / 'ill'}", "--repair"])
    healed = {answer.command: answer for answer in answers(place / "ill")}["em"]
    assert healed.status == 0 and not used_silently(base.whole["em"], healed), (damage, healed, said)
    capsys.readouterr()


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_many_damages(base, tmp_path, capsys, part):
    for number, damage in enumerate(sample(damages(base.directory), MANY, seed=6)[part::PARTS]):
        check(base, tmp_path / str(number), capsys, damage)
        shutil.rmtree(tmp_path / str(number))
