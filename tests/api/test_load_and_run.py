"""`load` and `run`, on a small finished workdir."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import emnat_jax as em
from emnat_jax.inference.sentences import as_lines
from tests.em.runs import small_config


def fingerprint(folder: Path) -> str:
    return json.loads((folder / "MANIFEST.json").read_text())["content_hash"]


@pytest.fixture(scope="module")
def student(workdir):
    return em.load(workdir)


def test_the_default_is_the_last_student(student, workdir):
    assert isinstance(student, em.TrainedModel)
    assert student.fingerprint == fingerprint(workdir / "rounds/1/student")
    assert em.load(workdir, "student", 0).fingerprint == fingerprint(workdir / "rounds/0/student")


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_a_model_folder_is_opened_in_its_workdir(workdir, role, monkeypatch):
    folder = workdir / "rounds/0" / role
    expected = em.load(workdir, role=role, round=0)
    monkeypatch.chdir(folder.parent)
    for path in (folder, str(folder), role, Path(role)):
        assert em.load(path).fingerprint == expected.fingerprint
    monkeypatch.chdir(workdir.parent)
    assert em.load("run", role=role, round=0).fingerprint == expected.fingerprint


def test_the_text_says_what_it_is(student, workdir):
    text = repr(em.load(workdir, rescore="teacher"))
    assert repr(student).startswith("TrainedModel(vanilla, 1+2 layers of width 16")
    assert "best of 3 by TrainedModel(ar, " in text and len(text) < 200


def test_a_line_goes_in_and_comes_out(student, workdir):
    line = json.loads((workdir / "rounds/0/eval.json").read_text())["samples"][0]["source"]
    best, empty = student.translate([line, " "])
    assert best and empty == ""
    first, *others = student.n_best([line], 4)[0]
    assert first.text == best and all(other.text != best for other in others)
    assert student.score([line], [best])[0] == pytest.approx(first.log_prob, abs=1e-3)
    choices, nothing = student.alternatives([line, ""], 2)
    assert nothing == [] and [choice.position for choice in choices] == list(range(len(choices)))
    assert "".join(choice.taken for choice in choices).replace("▁", " ").strip() == best
    for choice in choices:
        assert len(choice.likely) == 2 and choice.likely[0][1] >= choice.likely[1][1]
        assert 0 <= choice.probability <= choice.likely[0][1] + 1e-6 <= 1 + 2e-6


def test_a_teacher_changes_the_order_alone(workdir, student):
    line = json.loads((workdir / "rounds/0/eval.json").read_text())["samples"][0]["source"]
    rescored, teacher = em.load(workdir, rescore="teacher"), em.load(workdir, role="teacher")
    best = rescored.n_best([line], 1)[0][0]
    lists = rescored.n_best([line], 3)[0]
    assert lists[0] == best
    assert {t.text for t in lists} == {t.text for t in student.n_best([line], 3)[0]}
    alpha = 1.8  # the teacher's length penalty
    lengths = [len(ids) + 1 for ids in student.vocabulary.encode([t.text for t in lists])]
    scores = teacher.score([line] * len(lists), [t.text for t in lists])
    ranks = [s / ((5 + n) / 6) ** alpha for s, n in zip(scores, lengths, strict=True)]
    assert ranks == sorted(ranks, reverse=True)


def long_line(model: em.TrainedModel) -> str:
    word = next(piece for piece in model.vocabulary.pieces() if piece.startswith("▁") and piece != "▁")
    return " ".join([word[1:]] * (model.max_length + 1))


def test_nothing_gives_nothing(student):
    assert student.translate([]) == student.n_best([], 3) == student.alternatives([]) == []
    assert student.score([], []).shape == (0,)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda model: model.translate("one line"), "lines='one line' is a single line; give a list"),
        (lambda model: model.n_best("one line", 2), "lines="),
        (lambda model: model.alternatives("one line"), "lines="),
        (lambda model: model.score("a", ["b"]), "sources="),
        (lambda model: model.score(["a"], "b"), "targets="),
        (lambda model: model.score(["a", "b"], ["c"]), "2 sources but 1 targets"),
        (
            lambda model: model.translate(["a", long_line(model)], long_lines="error"),
            r"lines\[1\]: .* tokens, the model takes at most .*long_lines=\"split\"",
        ),
        (lambda model: model.translate(["a"], long_lines="drop"), "long_lines='drop': choose one of split"),
        (lambda model: model.n_best(["a"], 0), "count=0"),
        (lambda model: model.alternatives(["a"], 0), "count=0"),
        (lambda model: model.alternatives(["a"], 10**6), "count=1000000; ask for 1 to"),
    ],
)
def test_a_mistake_says_what_is_wrong(student, mistake, message):
    with pytest.raises(em.UserError, match=message):
        mistake(student)


def test_long_lines_are_translated_in_parts(student):
    """Of a line without ends of sentences the first words that fit are the first part."""
    line, long = long_line(student), em.LongLines()
    words, most = line.split(), student.max_length - 1
    best, short = student.translate([line, "s1"], long_lines=long)
    assert long == em.LongLines("split", split=[0])
    assert best == " ".join(student.translate([" ".join(words[:most]), " ".join(words[most:])]))
    assert short == student.translate(["s1"])[0]
    with pytest.warns(
        UserWarning, match="^1 lines have more than 8 tokens and were translated in parts"
    ) as told:
        assert student.translate([line, "s1"]) == [best, short]
    assert len(told) == 1 and told[0].filename == __file__
    first, *others = student.n_best([line], 3, long_lines=long)[0]
    assert first.text == best and all(other.text != best for other in others)


def test_long_lines_may_be_cut(student):
    line = long_line(student)
    long = em.LongLines("cut")
    found = student.translate(["s1", line, f"{line} s2"], long_lines=long)
    assert long.cut == [1, 2] and long.split == [] and found[1] == found[2]
    with pytest.warns(
        UserWarning, match="2 lines have more than 8 tokens and were cut; the first places: 1, 2"
    ):
        student.n_best(["s1", line, f"{line} s2"], 1, long_lines="cut")


def test_alternatives_of_a_long_line_go_on_in_its_next_part(student):
    line = long_line(student)
    long = em.LongLines()
    choices = student.alternatives([line], 2, long_lines=long)[0]
    positions = [choice.position for choice in choices]
    assert positions == sorted(set(positions)) and long.split == [0]
    text = "".join(choice.taken for choice in choices).replace("▁", " ").strip()
    assert text == student.translate([line], long_lines=long)[0]
    with pytest.warns(UserWarning, match="translated in parts") as told:
        student.alternatives([line])
    assert told[0].filename == __file__


def test_pairs_without_a_score_are_minus_infinity_and_counted(student):
    line, too_long = long_line(student), []
    sources, targets = ["s1", line, "s1", "s1"], ["a1", "a1", line, "a1"]
    scores = student.score(sources, targets, too_long=too_long)
    assert too_long == [1, 2] and np.isneginf(scores).tolist() == [False, True, True, False]
    assert scores[0] == pytest.approx(student.score(["s1"], ["a1"])[0], abs=1e-5)
    with pytest.warns(UserWarning, match="^2 pairs have more than 8 tokens and the score -inf") as told:
        student.score(sources, targets)
    assert told[0].filename == __file__


def test_lines_that_show_nothing_have_no_translation(student):
    lines = ["\u200b", "\ufeff", " \u2060 "]
    assert student.translate(lines) == [""] * 3 and student.n_best(lines, 2) == [[]] * 3
    np.testing.assert_allclose(student.score(lines, ["a1"] * 3), student.score([""] * 3, ["a1"] * 3))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a", b"b"], r"lines\[1\] is of type bytes"),
        (None, "lines is of type NoneType; give a list of lines"),
        ({"a": "b"}, "lines is of type dict"),
        (["a", "b \ud83d"], r"lines\[1\] has at 2 half of a pair of surrogates, '\\ud83d', .*leave that out"),
    ],
)
def test_what_is_no_text_is_refused(lines, message):
    with pytest.raises(em.UserError, match=message):
        as_lines("lines", lines)


def test_lines_may_come_one_by_one(student, tmp_path):
    """A generator, an open file, the values of a dict, an array of NumPy: all are what a list would be."""
    lines = ["s1 s2 s3", "", "😀 s4 s5"]
    (tmp_path / "in").write_text("".join(f"{line}\n" for line in lines))
    found = student.translate(lines)
    assert len(found) == 3 and found[0]
    assert student.translate(line for line in lines) == found
    assert student.translate(dict(enumerate(lines)).values()) == student.translate(np.array(lines)) == found
    with (tmp_path / "in").open() as file:
        assert student.translate(file) == found
    assert student.n_best(iter(lines), 2) == student.n_best(lines, 2)
    assert student.alternatives(iter(lines)) == student.alternatives(lines)
    np.testing.assert_array_equal(student.score(iter(lines), iter(found)), student.score(lines, found))


def test_a_teacher_has_no_alternatives(workdir):
    with pytest.raises(em.UserError, match="family ar predicts one token after another"):
        em.load(workdir, role="teacher").alternatives(["a"])


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("nowhere", {}, "nowhere: no such folder"),
        ("rounds", {}, "neither a workdir"),
        ("", {"role": "reader"}, "role='reader': choose one of teacher, student"),
        ("", {"round": "1"}, "round='1': give a whole number"),
        ("", {"round": 7}, "rounds/7/student is no finished student .* have one: 0, 1"),
        ("", {"round": 7, "role": "teacher"}, "rounds/7/teacher is no finished teacher"),
        ("rounds/0/student", {"round": 1}, "round=1: .* is the folder of a model"),
        ("", {"decoder": "beam"}, "decoder 'beam': the family vanilla has"),
        ("", {"length_candidates": 0}, "length candidates 0"),
    ],
)
def test_what_cannot_be_opened_is_named(workdir, path, options, message):
    with pytest.raises(em.UserError, match=message):
        em.load(workdir / path, **options)


@pytest.mark.parametrize(
    ("address", "said"), [("https://x.org/y", "nothing is read from"), ("s3://x/y", "s3fs")]
)
def test_an_address_that_cannot_be_reached_is_named(address, said):
    with pytest.raises(em.UserError, match=said):
        em.load(address)


def test_run_goes_on_where_it_was_and_says_so(workdir, tmp_path):
    shutil.copytree(workdir, tmp_path / "run")
    told = []
    report = em.run(small_config(), str(tmp_path / "run"), log=told.append)
    assert isinstance(report, em.Report) and [entry.round for entry in report.rounds] == [0, 1]
    assert told and all("finished before" in text for text in told if "rounds/" in text)


def test_what_a_run_has_written_is_read_again(workdir, student):
    report = em.read_report(workdir)
    assert report == em.read_report(str(workdir)) and [entry.round for entry in report.rounds] == [0, 1]
    assert report.config == small_config()
    rows = list(em.read_dataset(workdir / "rounds/0/candidates"))
    assert len(rows) == 80 and all(isinstance(row, em.Row) for row in rows)
    texts = [student.vocabulary.decode(tokens) for tokens in rows[0].targets]
    scores = em.load(workdir, round=0).score([rows[0].source_text] * len(texts), texts)
    np.testing.assert_allclose(scores, rows[0].scores["student_log_prob"], atol=1e-3)


def test_a_report_that_is_not_there_or_damaged_is_named(workdir, tmp_path):
    with pytest.raises(em.UserError, match="report.json: no such file; write it anew: emnat report"):
        em.read_report(tmp_path)
    path = tmp_path / "report/report.json"
    path.parent.mkdir()
    path.write_bytes((workdir / "report/report.json").read_bytes()[:-20])
    with pytest.raises(em.UserError, match="report.json is damaged .*write it anew"):
        em.read_report(tmp_path)
