"""The report's page: what it says, that it needs nothing from elsewhere, that a browser shows it."""

import dataclasses
import html.parser
import itertools
import re

import pytest

from emnat_jax.config import Config, DataConfig
from emnat_jax.em.effects import effects_of_rounds
from emnat_jax.report import charts
from emnat_jax.report.charts import strip_chart
from emnat_jax.report.page import page
from emnat_jax.report.record import ComparedSample, Cut, RoundOutputs
from emnat_jax.report.rounds import text_table
from tests.browser import NEEDS_BROWSER, shown
from tests.report.made import EFFECT, OUTPUTS, PAPER_LOOP, REFERENCES, SCORES, report


def changed(**changes):
    """The made report with other parts."""
    return dataclasses.replace(report(), **changes)


def trained_with(**em):
    """The made report of a run with other options of its rounds."""
    return changed(config=dataclasses.replace(report().config, em=dataclasses.replace(PAPER_LOOP, **em)))


class Well(html.parser.HTMLParser):
    """Notes tags that are left open or closed twice."""

    EMPTY = ("meta", "link")

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_says_what_was_trained_how_good_and_whether_em_helped():
    text = page(report())
    for part in (
        "de to en",
        "100 sentence pairs",
        "mine/train.de",
        "Tested on 3 sentences",
        "20.00 BLEU",
        "21.00 BLEU",
        "Did EM help?",
        "cannot tell: +1.00",
        "paired bootstrap",
        "one seed",
        "40 more steps than its 40",
        "bs:1000",
        "nrefs:1|case:mixed|tok:13a",
        "not measured",
        "data/train",
        "empty_line 2",
        "posterior",
        "75.0%",
        "-0.100",
    ):
        assert part in text, part


def test_the_nearness_of_choices_to_references_has_columns_where_it_was_measured():
    assert "chrF++, choices" not in page(report())
    first, last = report().rounds
    found = dataclasses.replace(first.selection, compared_rows=1_000, quality=0.615, rank1_quality=0.58)
    old = dataclasses.replace(last, selection=first.selection)
    rounds = (dataclasses.replace(first, selection=found), old)
    text = page(changed(rounds=rounds))
    assert "in the mean of the first 1,000." in text
    assert "<th>chrF++, choices</th><th>chrF++, rank 1</th>" in text
    assert "<td>61.50</td><td>58.00</td>" in text and "<td>-</td><td>-</td>" in text


def test_steps_add_up_where_a_model_goes_on():
    assert page(report()).count("<td>+40 (80 in all)</td>") == 2
    frozen = page(trained_with(update_teacher=False, student_data="selected"))
    assert frozen.count("<td>+40 (80 in all)</td>") == frozen.count("<td>none, frozen</td>") == 1
    text = page(trained_with(warm_start=False))
    assert "in all" not in text and "trained anew, 40 steps against 40" in text


def test_another_test_set_is_named_where_its_scores_stand():
    multi = dataclasses.replace(SCORES, bleu=33.0, sentences=7, bleu_signature="nrefs:var")
    rounds = tuple(
        dataclasses.replace(
            found,
            teacher=dataclasses.replace(found.teacher, test_multi=multi),
            student=dataclasses.replace(found.student, test_multi=multi),
        )
        for found in report().rounds
    )
    effect = dataclasses.replace(EFFECT, split="test_multi", signature="var:bs")
    text = page(changed(rounds=rounds, effects=(*report().effects, effect)))
    for part in (
        "several references (7 other sentences)",
        "33.00",
        "nrefs:var",
        "7 sentences with several references",
        "3 sentences of the test split",
        "sentences with several references: var:bs",
    ):
        assert part in text, part


def test_the_edit_rate_has_a_column_where_it_was_asked_for():
    scores = dataclasses.replace(SCORES, ter=61.25, ter_signature="nrefs:1|tok:tercom")
    rounds = tuple(
        dataclasses.replace(
            found,
            teacher=dataclasses.replace(found.teacher, test=scores),
            student=dataclasses.replace(found.student, test=scores),
        )
        for found in report().rounds
    )
    text = page(changed(rounds=rounds))
    assert "<th>TER</th>" in text and "<td>61.25</td>" in text and "TER: nrefs:1|tok:tercom." in text
    head, *lines = text_table(changed(rounds=rounds)).splitlines()
    assert "student TER" in head and "61.25" in lines[0] and "tok:tercom" in lines[-1]
    assert "TER" not in text_table(report()) and "<th>TER</th>" not in page(report())


def test_the_page_and_the_table_say_what_was_cut():
    cut = Cut("test", 4, 0.5, 24, (1, 3, 7))
    rounds = tuple(dataclasses.replace(found, cut=(cut,)) for found in report().rounds)
    says = "4 test sources (50.0%) have more than 24 tokens and were cut there, while their references"
    for text in (page(changed(rounds=rounds)), text_table(changed(rounds=rounds))):
        assert text.count(says) == 1 and "lines 1, 3, 7 and others." in text and "data.buckets" in text
    assert "were cut" not in page(report()) + text_table(report())


def test_examples_without_spaces_are_marked_by_characters():
    outputs = RoundOutputs(0, "我们去学校。", "我我去学 abba校。")
    sample = ComparedSample("6-10", "s", "我们去学校。", (outputs,))
    text = page(changed(samples=(sample,), config=Config(data=DataConfig(target_language="zh"))))
    assert "我<mark>我</mark>去学 <u>abba</u>校。" in text and "a character equal to its neighbour" in text
    assert "a word equal to its neighbour" in page(report())


def test_the_page_is_whole_and_alone():
    text = page(report())
    found = Well()
    found.feed(text)
    assert not found.open and {"svg", "table", "figure"} <= found.seen
    assert "script" not in found.seen and "&lt;script&gt;" in text and "&lt;b&gt;" in text
    assert not re.search(r"(src|href)=\"(?!data:)", text) and "http" not in text


def test_words_that_repeat_or_that_nobody_else_has_are_marked():
    text = page(report())
    assert "a <mark>a</mark> c" in text and "d e <u>x</u> <mark><u>x</u></mark>" in text


def test_without_a_later_round_nothing_is_claimed():
    text = page(report(rounds=1))
    assert "not asked" in text and "no round after the first" in text and "plain distillation" in text
    assert "No round is finished" in page(changed(rounds=()))


@pytest.mark.parametrize(
    ("after", "p_value", "says"),
    [(22.0, 0.01, "yes: +2.00"), (18.0, 0.01, "no, it hurt: -2.00"), (22.0, 0.2, "cannot tell")],
)
def test_a_difference_counts_where_the_test_can_tell(after, p_value, says):
    assert says in page(changed(effects=(dataclasses.replace(EFFECT, after=after, p_value=p_value),)))


def with_control():
    """The made report with a control in the second round, half a point below the student."""
    first, last = report().rounds
    scores = dataclasses.replace(SCORES, bleu=20.5)
    control = dataclasses.replace(last.student, valid=scores, test=scores)
    over = dataclasses.replace(EFFECT, over="control", before=20.5, p_value=0.01)
    return changed(
        rounds=(first, dataclasses.replace(last, control=control)), effects=(over, *report().effects)
    )


def test_the_verdict_is_over_the_control_where_there_is_one():
    text = page(with_control())
    assert "yes: +0.50 BLEU" in text and "against its control, which had as many steps" in text
    assert "cannot tell" in text and "em.control=True" not in text  # over round 0, in the table
    assert text.count("<td>the control</td>") == 1 and text.count("<td>itself in round 0</td>") == 2
    assert text.count("<td>+40 (80 in all)</td>") == 3 and "<td>control (no E-step)</td>" in text
    assert "em.control=True" in page(report()) and "the control</td>" not in page(report())
    head, first, last, *_ = text_table(with_control()).splitlines()
    place = head.index("control BLEU")
    assert first[place:].split()[0] == "-" and last[place:].split()[0] == "20.50"
    assert "control" not in text_table(report())


def test_where_references_were_chosen_the_run_that_they_are_alone_is_named():
    made = with_control()
    first, last = made.rounds
    chosen = dataclasses.replace(first.selection, references=0.64)
    made = dataclasses.replace(made, rounds=(dataclasses.replace(first, selection=chosen), last))
    assert "64% are references" in page(made)
    assert "em.student_data=raw em.rounds=0 student_train.steps=80." in page(made)
    assert "em.student_data=raw" not in page(with_control())


def test_examples_show_every_round_and_what_the_last_student_chose_between():
    found = report().samples
    assert [sample.source for sample in found][:2] == ["s1", "s2"]
    assert found[1].rounds[0].student == "d e x x" and [r.round for r in found[1].rounds] == [0, 1]
    text = page(report())
    assert "position by position" in text and "<th>3</th>" in text and "▁a&lt;b&gt;<small>25</small>" in text


def test_effects_are_of_the_last_round_on_the_first_for_every_system_and_test():
    outputs = {index: {"test": lines, "test_multi": lines} for index, lines in OUTPUTS.items()}
    several = [REFERENCES, ["a c", None, None]]
    effects = effects_of_rounds(outputs, {"test": [REFERENCES], "test_multi": several})
    assert [(effect.split, effect.system) for effect in effects] == [
        ("test", "teacher"),
        ("test", "student"),
        ("test_multi", "teacher"),
        ("test_multi", "student"),
    ]
    student = effects[1]
    assert student.round == 1 and student.after > student.before and 0 <= student.p_value <= 1
    assert effects_of_rounds({0: outputs[0]}, {"test": [REFERENCES]}) == ()


def test_the_last_student_is_compared_with_its_control_first():
    lines = {index: {"test": dict(found)} for index, found in OUTPUTS.items()}
    lines[1]["test"]["control"] = OUTPUTS[0]["student"]
    over, *others = effects_of_rounds(lines, {"test": [REFERENCES]})
    assert (over.system, over.over) == ("student", "control")
    same = next(effect for effect in others if effect.system == "student")
    assert same.over == "round_0" and (over.before, over.after) == (same.before, same.after)
    assert [effect.over for effect in others] == ["round_0", "round_0"]


def test_words_of_any_teacher_shown_are_not_the_students_own():
    rounds = (RoundOutputs(0, "d e", "d y"), RoundOutputs(1, "d y", "d y z"), RoundOutputs(2, "d e", "d y"))
    sample = dataclasses.replace(report().samples[1], rounds=rounds)
    text = page(changed(samples=(sample,)))
    assert "<u>y</u>" not in text and "d y <u>z</u>" in text
    assert text.count("teacher, round") == 2  # what did not change is shown once


def test_ticks_have_the_decimals_that_tell_them_apart():
    drawn = charts.line_chart({"a": [(0, 17.2), (1, 17.8)]}, "round", "BLEU")
    shown = re.findall(r'text-anchor="end">([\d.]+)<', drawn)
    steps = {round(float(b) - float(a), 6) for a, b in itertools.pairwise(shown)}
    assert len(shown) >= 3 and len(steps) == 1


def test_charts_keep_every_mark_inside():
    drawn = charts.line_chart({"one": [(0, -3.0), (1000, 8.0)], "flat": [(500, 2.0)]}, "update", "loss")
    drawn += charts.bar_chart(["a", "b"], {"x": [0.0, 1e-3]}, "g", "v") + charts.scatter(
        {"s": [(2.0, 5.0, "1"), (4.0, 5.0, "8")]}, "ms", "BLEU"
    )
    places = [float(y) for y in re.findall(r' c?y="([\d.]+)"', drawn)]
    assert len(places) >= 6 and all(0 <= place <= charts.HEIGHT for place in places)
    assert all(0 <= float(x) <= charts.WIDTH for x in re.findall(r' c?x="([\d.]+)"', drawn))


@pytest.mark.slow
@NEEDS_BROWSER
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_it_without_complaint(tmp_path, width):
    (tmp_path / "page.html").write_text(page(report()))
    dom, said = shown(tmp_path / "page.html", width)
    assert "Did EM help?" in dom and "<svg" in dom and "CONSOLE" not in said


def test_names_that_do_not_fit_side_by_side_are_slanted():
    few, many = (
        strip_chart({f"a cell with a name {i}": [1.0, 2.0] for i in range(n)}, "BLEU", {}) for n in (2, 9)
    )
    assert "rotate(-60" not in few and 'viewBox="0 0 480 260"' in few
    assert many.count("rotate(-60") == 9
    height = float(many.split('viewBox="0 0 480 ')[1].split('"')[0])
    assert height > 260 + 0.8 * 20 * 6
