"""Which stages two runs share, and what taking over does."""

import pytest
from etils import epath

from emnat_jax.config.convert import assign, from_dict, to_dict
from emnat_jax.em.plan import make_plan
from emnat_jax.em.stages.train import Train
from emnat_jax.sweep import sharing
from emnat_jax.sweep.sharing import common_stages, take_over
from tests.em.runs import small_config


def changed(**keys):
    values = to_dict(small_config())
    for key, value in keys.items():
        assign(values, key.replace("__", "."), value)
    return from_dict(values)


def shared(**keys) -> list[str]:
    return [stage.output for stage in common_stages(changed(**keys), small_config())]


FIRST_ROUND = [
    f"rounds/0/{name}" for name in ("teacher", "distilled", "student", "eval.json", "n_best", "candidates")
]


CONTROL = "rounds/1/control"  # which learns what round 0 made, whatever the E-steps choose
EVERYTHING = [stage.output for stage in make_plan(small_config())]


@pytest.mark.parametrize(
    ("keys", "outputs"),
    [
        ({"seed": 7}, []),
        ({"vocab__size": 50}, []),
        ({"teacher__width": 32}, ["data"]),
        ({"teacher_train__steps": 41}, ["data"]),
        ({"select__rule": "student_top1"}, ["data", *FIRST_ROUND, CONTROL]),
        ({"select__include_reference": True}, ["data", *FIRST_ROUND[:5], CONTROL]),
        ({"em__candidates": 3}, ["data", *FIRST_ROUND[:4], CONTROL]),
        ({"student__family": "ctc"}, ["data", "rounds/0/teacher", "rounds/0/distilled", "rounds/0/n_best"]),
        ({"student_train__steps": 41}, ["data", "rounds/0/teacher", "rounds/0/distilled", "rounds/0/n_best"]),
        ({"em__rounds": 0}, ["data", *FIRST_ROUND[:4]]),
        ({"em__student_data": "raw"}, ["data", "rounds/0/teacher", "rounds/0/n_best"]),
        ({"em__student_data": "candidates", "em__rows": None}, ["data", "rounds/0/teacher"]),
        ({"em__rows": 40}, ["data", *FIRST_ROUND[:4], CONTROL]),
        ({"em__later_lr_ratio": 0.1}, ["data", *FIRST_ROUND, "rounds/0/selected"]),
        ({"em__stop_min_gain": 0.1}, ["data", *FIRST_ROUND, "rounds/0/selected"]),
        ({"data__train_source": "elsewhere"}, []),
        ({"evaluation__samples": 3}, [name for name in EVERYTHING if "eval" not in name]),
    ],
)
def test_runs_share_what_no_option_between_them_touches(keys, outputs):
    assert shared(**keys) == outputs


@pytest.mark.parametrize(
    "em",
    [
        {},
        {"student_data": "candidates"},
        {"candidates_from": ("student",), "student_data": "selected", "update_teacher": False},
    ],
)
def test_a_run_shares_all_of_itself(em):
    config = small_config(rounds=2, **em)
    assert [stage.output for stage in common_stages(config, config)] == [s.output for s in make_plan(config)]


def test_a_frozen_teacher_shares_its_lists_with_one_that_learns():
    """The students of one learn the first of each list, those of the other its own translations."""
    em = {"rounds": 2, "student_data": "selected"}
    frozen = small_config(**em, update_teacher=False)
    common = [stage.output for stage in common_stages(frozen, small_config(**em))]
    assert common == ["data", "rounds/0/teacher", "rounds/0/distilled", "rounds/0/n_best"]


def test_a_stage_is_taken_over_whole(tmp_path):
    stage, ours, theirs = (
        Train("rounds/0/teacher", 0, "teacher", "data/train"),
        tmp_path / "ours",
        tmp_path / "theirs",
    )
    for name in ("state/12/weights", "MANIFEST.json", "metrics.jsonl"):
        path = theirs / "rounds/0/teacher" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    left = ours / "rounds/0/teacher/state/9"
    left.mkdir(parents=True)  # of a training that was cut off before
    take_over(stage, epath.Path(theirs), epath.Path(ours))
    assert not left.exists()
    found = sorted(str(path.relative_to(ours)) for path in ours.rglob("*") if path.is_file())
    assert found == [
        f"rounds/0/teacher/{name}" for name in ("MANIFEST.json", "metrics.jsonl", "state/12/weights")
    ]
    assert all((ours / name).read_text() == (theirs / name).read_text() for name in found)
    assert stage.is_finished(epath.Path(ours))


@pytest.mark.parametrize("placed", [0, 1])
def test_a_take_over_that_is_cut_off_is_not_finished_and_made_again(tmp_path, monkeypatch, placed):
    stage, ours, theirs = (
        Train("rounds/0/teacher", 0, "teacher", "data/train"),
        tmp_path / "ours",
        tmp_path / "theirs",
    )
    folder = theirs / "rounds/0/teacher"
    folder.mkdir(parents=True)
    for name in ("MANIFEST.json", "weights"):
        (folder / name).write_text(name)
    real, count = sharing._place, iter(range(9))

    def place(source, target):
        if next(count) == placed:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(sharing, "_place", place)
    with pytest.raises(KeyboardInterrupt):
        take_over(stage, epath.Path(theirs), epath.Path(ours))
    assert not stage.is_finished(epath.Path(ours)) and not (ours / "rounds/0/teacher").exists()
    take_over(stage, epath.Path(theirs), epath.Path(ours))
    assert sorted(path.name for path in (ours / "rounds/0/teacher").iterdir()) == ["MANIFEST.json", "weights"]
