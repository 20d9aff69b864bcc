"""What a round measures: scores of every system, NCM, several references, the first teacher's choice."""

import dataclasses
import json
import shutil

import chex
import numpy as np
import pytest

from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.config import SelectConfig
from emnat_jax.data.pairs import load_pairs
from emnat_jax.em.evaluate import (
    EvaluationOptions,
    RoundModels,
    StudentData,
    evaluate_round,
    held_out_pairs,
    read_texts,
)
from emnat_jax.em.ncm import learned_pairs, measure_multimodality
from emnat_jax.em.report import collect_report
from emnat_jax.errors import UserError
from emnat_jax.estep.selection import select
from emnat_jax.inference.sentences import sentence_pairs
from emnat_jax.report.convert import loads
from emnat_jax.report.record import Report
from emnat_jax.report.rounds import text_table
from emnat_jax.types import EOS
from tests.em.runs import round_model, small_config, workspace


def test_the_first_teacher_chooses_among_the_students_hypotheses(finished):
    """Its score of the choice is at least that of the student's own first choice."""
    directory, report = finished
    work = workspace(directory)
    teacher, student = round_model(work, 0, "teacher"), round_model(work, 1, "student")
    pairs = load_pairs(directory / "data/test")
    alpha = teacher.config.options.length_penalty

    def penalised(found):
        best = [candidates.tokens[0] for candidates in found]
        scored = sentence_pairs([pairs_source(pairs, i) for i in range(pairs.size)], best)
        lengths = np.array([len(tokens) for tokens in best])
        return teacher.score_pairs(scored) / ((5 + lengths) / 6) ** alpha

    own = penalised(student.decode(pairs))
    count = work.config.evaluation.rescored_candidates
    chosen = student.rescored_by(teacher, count).decode(pairs, count)
    chosen_score = penalised(chosen)
    assert (chosen_score >= own - 1e-4).all() and (chosen_score > own + 1e-4).any()
    lines = [work.vocabulary.decode(candidates.tokens[0]) for candidates in chosen]
    assert (directory / "rounds/1/outputs/test.student_rescored.txt").read_text().splitlines() == lines
    assert {"bleu", "length_ratio"} <= set(report["rounds"][1]["student_rescored"]["test"])


def pairs_source(pairs, index):
    return pairs.source_tokens[pairs.source_offsets[index] : pairs.source_offsets[index + 1]]


def test_report_has_one_object_a_round(finished):
    directory, report = finished
    assert {"rounds", "provenance", "config", "environment"} <= set(report)
    for item in report["rounds"]:
        assert {"round", "teacher", "student", "selection", "ncm"} <= set(item)
        for role in ("teacher", "student"):
            scores = item[role]["test"]
            assert "version:" in scores["bleu_signature"] and 0 <= scores["share_valid"] <= 1
        ncm = item["ncm"]["train"]
        assert ncm["ncm"] > ncm["ncm_without_length"] > 0
        np.testing.assert_allclose(ncm["total_correlation"], ncm["ncm"] - ncm["teacher_nll"])
    assert 0 <= report["rounds"][0]["selection"]["share_valid"] <= 1
    assert report["rounds"][1]["selection"] is None
    text = (directory / "report/report.json").read_text()
    assert len(text_table(loads(Report, text, "report.json", "")).splitlines()) == 4


def test_the_share_of_valid_choices_is_that_of_all_windows(finished, monkeypatch):
    def share_of_odd_lines(lines, rows, options):
        return float(np.mean([len(line) % 2 for line in lines]))

    def share() -> float:
        return collect_report(workspace(finished[0]), None).rounds[0].selection.share_valid

    monkeypatch.setattr("emnat_jax.em.report.share_valid", share_of_odd_lines)
    whole = share()
    monkeypatch.setattr("emnat_jax.em.report._WINDOW", 7)  # the last has another number of rows
    assert share() == pytest.approx(whole, rel=1e-12) and 0 < whole < 1


def test_several_references_are_scored_in_every_round(finished, tmp_path):
    directory, report = finished
    rows = list(read_dataset(directory / "data/test"))
    lines = [f"{row.source_text}\tnothing like it\t{row.target_text}\n" for row in rows]
    (tmp_path / "refs.tsv").write_text("".join(lines))
    shutil.copytree(directory, tmp_path / "run")
    config = small_config()
    data = dataclasses.replace(config.data, test_multi=str(tmp_path / "refs.tsv"))
    work = workspace(tmp_path / "run", dataclasses.replace(config, data=data))
    work.check()
    folders = RoundModels(*(work.round_folder(0, role) for role in ("teacher", "student", "teacher")))
    evaluate_round(
        work.context,
        EvaluationOptions.of(work.config),
        0,
        folders,
        StudentData(directory / "rounds/0/distilled"),
    )
    result = json.loads((tmp_path / "run/rounds/0/eval.json").read_text())
    for role in ("teacher", "student", "student_rescored"):
        assert result[role]["test_multi"]["bleu_signature"].startswith("nrefs:2")
        assert result[role]["test_multi"]["bleu"] == pytest.approx(result[role]["test"]["bleu"], abs=5)
        assert result[role]["test"] == report["rounds"][0][role]["test"]
    (tmp_path / "refs.tsv").write_text("no tab\n")
    with pytest.raises(UserError, match="refs.tsv:1: give a source"):
        work.check()


def test_ncm_is_the_pooled_score_of_the_students_targets(finished):
    directory, report = finished
    from emnat_jax.data.pairs import load_pairs

    model, pairs = (
        round_model(workspace(directory), 0, "student"),
        load_pairs(directory / "rounds/0/distilled"),
    )
    keep = slice(0, small_config().evaluation.ncm_rows)
    log_prob = model.score_pairs(pairs)[keep]
    expected = -log_prob.sum(dtype=np.float64) / pairs.target_lengths[keep].sum()
    np.testing.assert_allclose(report["rounds"][0]["ncm"]["train"]["ncm"], expected, rtol=1e-5)


def test_of_several_targets_the_student_learns_the_likeliest(finished):
    directory, _ = finished
    student = round_model(workspace(directory), 0, "student")
    pairs = learned_pairs(directory / "rounds/0/n_best", 20, student, targets=2)
    rows = list(read_dataset(directory / "rounds/0/candidates"))[:20]
    best = [row.targets[int(np.argmax(row.scores["student_log_prob"]))] for row in rows]
    assert any(target is not row.targets[0] for target, row in zip(best, rows, strict=True))
    np.testing.assert_array_equal(pairs.target_tokens, np.concatenate(best))
    plain = learned_pairs(directory / "rounds/0/n_best", 20, student)
    np.testing.assert_array_equal(plain.target_tokens, np.concatenate([row.targets[0] for row in rows]))


def test_targets_out_of_reach_count_for_neither_model(finished):
    directory, _ = finished
    models = {role: round_model(workspace(directory), 0, role) for role in ("teacher", "student")}
    rows = list(read_dataset(directory / "rounds/0/distilled"))[:3]
    sources, targets = [row.source for row in rows], [row.targets[0] for row in rows]
    near = measure_multimodality(models, sentence_pairs(sources, targets))
    far = measure_multimodality(
        models, sentence_pairs([*sources, sources[0]], [*targets, np.array([9] * 20 + [EOS])])
    )
    assert near.unreachable == 0 and far.unreachable == 0.25
    chex.assert_trees_all_close(vars(near), {**vars(far), "unreachable": 0.0}, rtol=1e-5)


def test_targets_with_weights_count_by_them(finished, tmp_path):
    """Expected under the shares that the student was trained with, not its favourite alone."""
    directory, _ = finished
    work = workspace(directory)
    models = {role: round_model(work, 0, role) for role in ("teacher", "student")}
    rule = SelectConfig(output="weighted", alpha=0.1, beta=0.1, quality_weight=0.0, include_reference=False)
    select(directory / "rounds/0/candidates", tmp_path / "soft", rule, vocabulary=work.vocabulary)
    rows = list(read_dataset(tmp_path / "soft"))[:30]
    nll, tokens = 0.0, 0.0
    for row in rows:
        pairs = sentence_pairs([row.source] * len(row.targets), row.targets)
        nll -= np.dot(models["student"].score_pairs(pairs), row.scores["weight"])
        tokens += np.dot(pairs.target_lengths, row.scores["weight"])
    assert sum(len(row.targets) for row in rows) > 45
    found = measure_multimodality(models, learned_pairs(tmp_path / "soft", 30, models["student"]))
    assert found.ncm == pytest.approx(nll / tokens, rel=1e-5)


def test_a_student_of_the_corpus_is_measured_on_references(finished):
    directory, _ = finished
    work = workspace(directory, small_config(student_data="raw"))
    options = EvaluationOptions.of(work.config)
    texts = read_texts(work.context, options, has_part=True)
    found = held_out_pairs(texts, [], options)
    np.testing.assert_array_equal(found.target_tokens, load_pairs(directory / "data/valid").target_tokens)


def test_a_line_with_several_pairs_has_a_score_and_an_output_for_each(finished):
    """Pairs of one line have one row number, and are told apart all the same."""
    model, rows = round_model(workspace(finished[0]), 0, "student"), read_dataset(finished[0] / "data/valid")
    sources, targets = zip(*((row.source, row.targets[0]) for row in list(rows)[:6]))
    apart = sentence_pairs(sources, targets)
    together = apart._replace(row=np.zeros(apart.size, np.int64))
    np.testing.assert_array_equal(*(model.score_pairs(pairs) for pairs in (apart, together)))
    ours, theirs = (model.decode(pairs) for pairs in (apart, together))
    assert [found.tokens[0].tolist() for found in ours] == [found.tokens[0].tolist() for found in theirs]
    assert len({*map(str, ours)}) > 1
