"""A whole small run: what it leaves behind, what it refuses, what it skips."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.artifacts.journal import exclusive, read_journal
from emnat_jax.artifacts.manifest import load_manifest
from emnat_jax.config import MeshConfig, SelectConfig
from emnat_jax.data.pairs import load_pairs
from emnat_jax.em.driver import rebuild_report
from emnat_jax.em.plan import make_plan
from emnat_jax.em.stop import stop_reason
from emnat_jax.em.train_model import make_stream
from emnat_jax.em.train_options import training_options
from emnat_jax.errors import UserError
from emnat_jax.estep.selection import select
from emnat_jax.inference.distill import distill
from emnat_jax.inference.sentences import sentence_pairs
from emnat_jax.report.convert import dumps
from emnat_jax.report.record import Evaluation, SystemScores
from tests.data.in_memory import InMemory
from tests.data.rows import edit_manifest
from tests.em.runs import TRAIN, round_model, run_em, run_in_child, small_config, workspace
from tests.report.made import NCM_BY_SPLIT, SCORES


@pytest.mark.slow
def test_a_student_can_be_its_own_proposer(tmp_path):
    """No search of the teacher in the rounds: it scores, and stays as it is."""
    config = small_config(candidates_from=("student",), student_data="selected", update_teacher=False)
    report = run_em(tmp_path / "run", config)
    assert [item["round"] for item in report["rounds"]] == [0, 1]
    assert report["rounds"][0]["teacher"]["test"] == report["rounds"][1]["teacher"]["test"]
    work = workspace(tmp_path / "run", config)
    rows, student = list(read_dataset(tmp_path / "run/rounds/0/candidates")), round_model(work, 0, "student")
    pairs = sentence_pairs([row.source for row in rows], [row.targets[0] for row in rows])
    expected = student.score_pairs(pairs)
    np.testing.assert_allclose(
        [row.scores["student_log_prob"][0] for row in rows], expected, rtol=1e-4, atol=1e-4
    )
    assert "teacher_log_prob" not in rows[0].scores and "teacher0_log_prob" in rows[0].scores


@pytest.mark.slow
def test_an_e_step_inside_the_loss_runs_through(tmp_path):
    report = run_em(tmp_path / "run", small_config(student_data="candidates"))
    assert [item["round"] for item in report["rounds"]] == [0, 1]
    rows = list(read_dataset(tmp_path / "run/rounds/0/n_best"))
    assert len(rows) == 80 and max(len(row.targets) for row in rows) == 2
    lines = [
        json.loads(line)
        for line in (tmp_path / "run/rounds/0/student/metrics.jsonl").read_text().splitlines()
    ]
    shares = [line["largest_share"] for line in lines if "largest_share" in line]
    assert 0.5 <= shares[0] <= shares[-1] <= 1 + 1e-6


@pytest.mark.parametrize(("option", "value"), [("encoder_layers", 2), ("activation", "gelu")])
def test_another_encoder_is_refused_before_anything_is_trained(tmp_path, option, value):
    config = small_config()
    config = dataclasses.replace(config, student=dataclasses.replace(config.student, **{option: value}))
    with pytest.raises(UserError, match=rf"student\.{option}={value} .*em\.share_encoder=False"):
        run_em(tmp_path, config)
    assert not any(tmp_path.iterdir())


def test_a_training_has_batches_of_its_own_where_it_asks(finished):
    work, pairs = workspace(finished[0]), InMemory(load_pairs(finished[0] / "data/train"))
    trainings = TRAIN, dataclasses.replace(TRAIN, batch_tokens=64)
    options = [
        training_options(dataclasses.replace(small_config(), student_train=train), "student")
        for train in trainings
    ]
    assert [len(next(make_stream(work.layout, pairs, one)).target) for one in options] == [32, 8]


def test_rows_outside_a_partial_e_step_keep_their_targets(finished):
    plan = {stage.output: stage for stage in make_plan(small_config())}
    assert [plan[f"rounds/{n}"].base for n in ("0/teacher", "0/student", "1/teacher", "1/student")] == [
        None,
        None,
        "data/train",
        "rounds/0/distilled",
    ]
    trainings = [stage for stage in make_plan(small_config(rows=None)) if stage.kind == "train"]
    assert {stage.base for stage in trainings} == {None}
    _, report = finished
    for role in ("teacher", "student"):
        assert [item[role]["training"]["rows"] for item in report["rounds"]] == [120, 120]
    assert report["provenance"]["rounds/0/selected"]["rows"] == 80
    hashes = {name: entry["content_hash"] for name, entry in report["provenance"].items()}
    made_of = report["provenance"]["rounds/1/teacher"]["fingerprints"]
    assert made_of["source"] == hashes["rounds/0/selected"] and made_of["base"] == hashes["data/train"]


def test_rows_are_neither_lost_nor_doubled_nor_swapped(finished):
    directory, _ = finished
    raw = {row.row: row for row in read_dataset(directory / "data/train")}
    for name, count in (("0/distilled", 120), ("0/candidates", 80), ("0/selected", 80), ("1/distilled", 80)):
        rows = list(read_dataset(directory / "rounds" / name))
        assert [row.row for row in rows] == list(raw)[:count]
        for row in rows:
            np.testing.assert_array_equal(row.source, raw[row.row].source)
            assert row.target_text == raw[row.row].target_text


def test_candidates_carry_the_scores_of_the_three_models(finished):
    directory, _ = finished
    work = workspace(directory)
    rows = list(read_dataset(directory / "rounds/0/candidates"))
    for role, column in (
        ("teacher", "teacher_log_prob"),
        ("teacher", "teacher0_log_prob"),
        ("student", "student_log_prob"),
    ):
        model = round_model(work, 0, role)
        pairs = sentence_pairs([row.source for row in rows], [row.targets[0] for row in rows])
        expected = model.score_pairs(pairs)
        np.testing.assert_allclose([row.scores[column][0] for row in rows], expected, rtol=1e-4, atol=1e-4)


def test_candidates_of_both_models_are_joined_and_scored_alike(finished, tmp_path):
    directory, _ = finished
    work = workspace(directory)
    models = [round_model(work, 0, role) for role in ("teacher", "student")]
    scorers = dict(zip(("teacher_log_prob", "student_log_prob"), models))
    distill(
        models,
        directory / "data/valid",
        tmp_path / "both",
        num_candidates=2,
        vocabulary=work.vocabulary,
        scorers=scorers,
    )
    rows = list(read_dataset(tmp_path / "both"))
    pairs = load_pairs(directory / "data/valid")
    best = {pairs.row[i]: found.tokens[0].tolist() for i, found in enumerate(models[0].decode(pairs, 2))}
    proposers = [row.scores["proposer"].tolist() for row in rows]
    assert all(p == sorted(p) and p[0] == 0 for p in proposers) and any(1 in p for p in proposers)
    for row in rows:
        texts = [work.vocabulary.decode(target) for target in row.targets]
        assert len({*texts}) == len(texts) <= 4
        assert row.targets[0].tolist() == best[row.row]
    flat = [(row.source, target) for row in rows for target in row.targets]
    for column, model in scorers.items():
        expected = model.score_pairs(sentence_pairs(*zip(*flat)))
        np.testing.assert_allclose(np.concatenate([row.scores[column] for row in rows]), expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cmlm", "glat", "ctc", "dag"])
def test_any_family_is_the_student(name, tmp_path):
    config = small_config(candidates_from=("teacher", "student"))
    student = dataclasses.replace(config.student, family=name)
    directory = tmp_path / "run"
    assert run_in_child(directory, config=dataclasses.replace(config, student=student)) == 0
    report = json.loads((directory / "report/report.json").read_text())
    assert len(report["rounds"]) == 2
    for item in report["rounds"]:
        assert np.isfinite(item["ncm"]["train"]["ncm"]) and item["student"]["test"]["sentences"] == 24


def test_selection_follows_the_rule(finished, tmp_path):
    directory, report = finished
    vocabulary = workspace(directory).vocabulary
    for rule, key in (
        ("student_top1", lambda s: s["student_log_prob"]),
        ("teacher_top1", lambda s: -np.arange(len(s["teacher_log_prob"]))),
        ("posterior", lambda s: np.float64(s["student_log_prob"]) + np.float64(s["teacher0_log_prob"])),
    ):
        manifest = select(
            directory / "rounds/0/candidates",
            tmp_path / rule,
            SelectConfig(rule=rule, quality_weight=0.0, include_reference=False, normalise_length=False),
            vocabulary=vocabulary,
        )
        candidates = read_dataset(directory / "rounds/0/candidates")
        for row, chosen in zip(candidates, read_dataset(tmp_path / rule), strict=True):
            best = int(np.argmax(key(row.scores)))
            np.testing.assert_array_equal(chosen.targets[0], row.targets[best])
        histogram = manifest.options["statistics"]["rank_histogram"]
        assert sum(histogram) == manifest.rows_out
        assert (rule != "teacher_top1") or histogram == [manifest.rows_out]
    assert report["rounds"][0]["selection"]["options"]["rule"] == "posterior"


def test_running_again_changes_nothing(finished):
    directory, report = finished
    stages = [line for line in read_journal(directory) if line["event"] == "end"]
    again = run_em(directory)
    assert again["rounds"] == report["rounds"] and again["provenance"] == report["provenance"]
    ends = [line for line in read_journal(directory) if line["event"] == "end"]
    assert [line["stage"] for line in ends[len(stages) :]] in ([], ["data"])


def test_another_configuration_is_refused_by_name(finished):
    directory, _ = finished
    changed = dataclasses.replace(small_config(), seed=9, select=SelectConfig(alpha=0.5))
    with pytest.raises(UserError, match=r"seed, select\.alpha|select\.alpha, seed"):
        run_em(directory, changed)


def test_another_mesh_is_not_another_configuration(finished):
    directory, report = finished
    changed = dataclasses.replace(small_config(), mesh=MeshConfig(data=4))
    assert run_em(directory, changed)["rounds"] == report["rounds"]


def test_a_damaged_set_is_refused_and_named(finished, tmp_path):
    directory = tmp_path / "copy"
    shutil.copytree(finished[0], directory)
    shard = next((directory / "rounds/0/selected").glob("part-00001*"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 4
    shard.write_bytes(data)
    shutil.rmtree(directory / "rounds/1")
    with pytest.raises(UserError, match="part-00001"):
        run_em(directory)


def test_a_set_of_another_vocabulary_is_refused(finished, tmp_path):
    directory, _ = finished
    with pytest.raises(UserError, match="vocabulary"):
        load_manifest(directory / "rounds/0/selected", expect={"vocabulary": "0" * 16})


def test_two_runs_cannot_share_a_workdir(finished):
    directory, _ = finished
    with exclusive(directory), pytest.raises(UserError, match="in use"):
        run_em(directory)


def test_stopping_rule(tmp_path):
    """BLEU falls by 1 in round 1."""
    for index, bleu in enumerate((30.0, 29.0, 35.0)):
        folder = tmp_path / f"rounds/{index}"
        folder.mkdir(parents=True)
        scores = dataclasses.replace(SCORES, bleu=bleu)
        system = SystemScores(valid=scores, test=SCORES)
        found = Evaluation(round=index, teacher=system, student=system, ncm=NCM_BY_SPLIT)
        (folder / "eval.json").write_text(dumps(found))
    config = small_config(rounds=3, stop_min_gain=0.1)
    assert "rose" in stop_reason(workspace(tmp_path, config), 1)
    assert stop_reason(workspace(tmp_path, config), 2) is None
    assert stop_reason(workspace(tmp_path, config), 0) is None
    assert stop_reason(workspace(tmp_path, small_config(rounds=3)), 1) is None


def test_drift_stops(finished, tmp_path):
    """Against the best of round 0, from the first E-step on; the last round has none."""
    for index, (best, chosen) in enumerate(((-0.5, -0.52), (-0.55, -0.6))):
        folder = tmp_path / f"rounds/{index}/selected"
        shutil.copytree(finished[0] / "rounds/0/selected", folder)
        options = load_manifest(folder).options
        options["statistics"] |= {
            "rank1_teacher0_log_prob_per_token": best,
            "teacher0_log_prob_per_token": chosen,
        }
        edit_manifest(folder, options=options)

    def reasons(most, rounds=2):
        work = workspace(tmp_path, small_config(rounds=rounds, stop_max_drift=most))
        return [stop_reason(work, index) is not None for index in range(3)]

    assert reasons(0.01) == [True, True, False] and reasons(0.08) == [False, True, False]
    assert reasons(0.2) == [False] * 3 and reasons(0.08, rounds=1) == [False] * 3


def test_a_run_ends_before_it_learns_from_choices_that_drifted(finished, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(finished[0], directory)
    shutil.rmtree(directory / "rounds/1")
    config = small_config(stop_max_drift=0.0)
    config = dataclasses.replace(
        config, select=SelectConfig(alpha=0.0, beta=-100.0, quality_weight=0.0, include_reference=False)
    )
    shutil.rmtree(directory / "rounds/0/selected")
    (directory / "config.json").unlink()
    report = run_em(directory, config)
    assert "em.stop_max_drift=0.0" in report["stopped"] and [r["round"] for r in report["rounds"]] == [0]
    assert not (directory / "rounds/1").exists()
    assert rebuild_report(workspace(directory, config)).stopped == report["stopped"]


def test_a_damaged_configuration_is_named(finished, tmp_path):
    (tmp_path / "config.json").write_text('{"seed": 1,')
    with pytest.raises(UserError, match="config.json is damaged"):
        run_em(tmp_path)
