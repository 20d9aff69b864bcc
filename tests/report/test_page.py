"""The report's page: what it says, that it needs nothing from elsewhere, that a browser shows it."""

import html.parser
import itertools
import json
import re

import pytest

from emnat_jax.em import details
from emnat_jax.evaluation import lengths
from emnat_jax.report import charts
from emnat_jax.report.charts import strip_chart
from emnat_jax.report.page import page
from tests.browser import NEEDS_BROWSER, shown

REFERENCES = ["a b c", "d e f g h i j", "k l m n o p q r s t u v"]
OUTPUTS = {0: {"teacher": ["a b c", "d e e g", "k <b> l"], "student": ["a a c", "d e x x", "k l"]}}
OUTPUTS[1] = {"teacher": ["a b c", "d e f g h i j", "k l m"], "student": ["a b c", "d e f g x", "k l m n o"]}
SCORES = {
    "bleu": 20.0,
    "bleu_signature": "nrefs:1|tok:13a",
    "chrf": 30.0,
    "length_ratio": 0.9,
    "repeat_rate": 0.05,
    "type_token_ratio": 0.2,
    "sentences": 3,
}
EFFECT = {
    "system": "student",
    "split": "test",
    "round": 1,
    "before": 20.0,
    "after": 21.0,
    "p_value": 0.3,
    "signature": "bs:1000",
}
NCM = {"ncm": 1.2, "teacher_nll": 0.9, "total_correlation": 0.3}


CHOICE = [{"position": 2, "taken": "▁a<b>", "probability": 0.25, "likely": [["▁x", 0.7], ["▁a<b>", 0.25]]}]


def evaluation(index: int, outputs: dict) -> dict:
    """As a round's eval.json has its examples."""
    sources = ["s1", "s2", "<script>alert(1)</script>"]
    examples = [
        {"words": lengths.bucket_name(lengths.bucket_of(REFERENCES[i])), "source": sources[i], "reference": REFERENCES[i]}
        | {name: lines[i] for name, lines in outputs.items()}
        | {"alternatives": CHOICE}
        for i in range(3)
    ]  # fmt: skip
    return {"round": index, "samples": examples}


def report(rounds: int = 2) -> dict:
    """A report of made figures."""
    outputs = {index: OUTPUTS[index] for index in range(rounds)}
    selection = {"rule": "posterior", "rank_histogram": [3, 1], "agreement": 0.75, "tokens_per_target": 7.0,
                 "teacher0_log_prob_per_token": -1.0, "rank1_teacher0_log_prob_per_token": -0.9}  # fmt: skip
    trained = {"rows": 100, "step": 40}
    items = [
        {"round": index, "ncm": {"train": NCM, "valid": NCM}, "selection": selection if index == 0 else None}
        | {
            role: {"test": {**SCORES, "bleu": 20.0 + index}, "training": trained}
            for role in ("teacher", "student")
        }
        for index in range(rounds)
    ]
    data = {
        "source_language": "de",
        "target_language": "en",
        "kind": "text",
        "tfds": None,
        "train_source": "mine/train.de",
    }
    em, evaluated = (
        {"warm_start": True, "update_teacher": True, "student_data": "distilled"},
        {"rescored_candidates": 3},
    )
    made = {
        "content_hash": "f" * 64,
        "fingerprints": {"corpus": "e" * 64},
        "rows": 100,
        "dropped": {"empty_line": 2},
    }
    return {
        "rounds": items,
        "curves": [{"round": 0, "role": role, "loss": [[1, 5.0], [2, 3.0]], "valid_loss": [[2, 4.0]]} for role in ("teacher", "student")],
        "by_length": {str(index): lengths.by_length(lines, REFERENCES) for index, lines in outputs.items()},
        "samples": details.samples([evaluation(index, lines) for index, lines in outputs.items()]),
        "em_effects": [EFFECT, EFFECT | {"system": "teacher", "p_value": 0.01}] if rounds > 1 else [],
        "latency": [], "stopped": None, "provenance": {"data/train": made}, "seconds": {"data/train": 3.0},
        "config": {"seed": 1, "data": data, "em": em, "evaluation": evaluated, "teacher": {"family": "ar"}, "student": {"family": "vanilla"}},
        "environment": {"devices": "1 x cpu", "platform": "p", "python": "3", "versions": {"jax": "0"}},
    }  # fmt: skip


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
    for part in ("de to en", "100 sentence pairs", "mine/train.de", "Tested on 3 sentences", "20.00 BLEU", "21.00 BLEU", "Did EM help?",
                 "cannot tell: +1.00", "paired bootstrap", "one seed", "40 more updates than its 40", "bs:1000", "nrefs:1|tok:13a", "not measured",
                 "data/train", "empty_line 2", "posterior", "75.0%", "-0.100"):  # fmt: skip
        assert part in text, part


def test_updates_add_up_where_a_model_goes_on():
    assert page(report()).count("<td>+40 (80 in all)</td>") == 2
    stays = report()
    stays["config"]["em"]["update_teacher"] = False
    assert page(stays).count("<td>+40 (80 in all)</td>") == page(stays).count("<td>none, it stays</td>") == 1
    anew = report()
    anew["config"]["em"]["warm_start"] = False
    text = page(anew)
    assert "in all" not in text and "trained anew, 40 updates against 40" in text


def test_another_test_set_is_named_where_its_figures_stand():
    several = report()
    for item in several["rounds"]:
        for role in ("teacher", "student"):
            item[role]["test_multi"] = {**SCORES, "bleu": 33.0, "sentences": 7, "bleu_signature": "nrefs:var"}
    several["em_effects"].append(EFFECT | {"split": "test_multi", "signature": "var:bs"})
    text = page(several)
    for part in ("several references (7 other sentences)", "33.00", "nrefs:var", "7 sentences with several references", "3 sentences of the test split",
                 "sentences with several references: var:bs"):  # fmt: skip
        assert part in text, part


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
    assert "No round is finished" in page(report() | {"rounds": []})


@pytest.mark.parametrize(("after", "p_value", "says"), [(22.0, 0.01, "yes: +2.00"), (18.0, 0.01, "no, it hurt: -2.00"), (22.0, 0.2, "cannot tell")])  # fmt: skip
def test_a_difference_counts_where_the_test_can_tell(after, p_value, says):
    assert says in page(report() | {"em_effects": [EFFECT | {"after": after, "p_value": p_value}]})


def timing(
    role: str, rate: float, bleu: float | None = 20.0, device: str = "1 x cpu", about: str = "", size: int = 1
) -> dict:
    figures = {"median_ms": 900.0 / rate, "p95_ms": 2e3 / rate, "sentences_per_second": rate}
    name = f"{role}, round 1{about}"
    return {
        "name": name,
        "role": role,
        "round": 1,
        "device": device,
        "bleu": bleu,
        "figures": {f"batch_{size}": figures},
    }


def test_speed_is_set_beside_quality_against_the_fastest_teacher_on_the_same_device():
    latency = [
        timing("teacher", 20.0, about=", beam"),
        timing("teacher", 50.0),
        timing("teacher", 900.0, device="1 x gpu"),
        timing("student", 100.0),
    ]
    text = page(report() | {"latency": latency})
    for part in ("2.0 times the teacher", "1 at a time: 10.0 against 20.0 ms a sentence", "Quality and speed", "student, round 1, 1: 20 BLEU, 10 ms a sentence",
                 "<td>teacher, round 1, beam</td><td>1</td><td>20.00</td><td>50.0</td><td>20.0</td><td>45.0</td><td>100.0</td>"):  # fmt: skip
        assert part in text, part


def test_the_speed_of_the_student_is_not_that_of_another_decoding():
    slow = timing("student", 5.0, about=", rescore=teacher") | {"changes": {"rescore": "teacher"}}
    text = page(report() | {"latency": [timing("teacher", 50.0), timing("student", 100.0), slow]})
    assert "2.0 times the teacher" in text and "student, round 1, rescore=teacher" in text
    assert "not measured" in page(report() | {"latency": [timing("teacher", 50.0), slow]})


def test_the_last_timing_of_a_system_counts_and_no_comparison_is_made_up():
    text = page(
        report()
        | {
            "latency": [
                timing("student", 100.0),
                timing("teacher", 10.0, size=64),
                timing("student", 50.0, bleu=None),
            ]
        }
    )
    assert (
        "20.0 ms a sentence" in text
        and "no teacher timed" in text
        and "<td>10.0</td><td>100.0</td>" not in text
    )
    assert "<td>student, round 1</td><td>1</td><td>-</td>" in text


def test_examples_show_every_round_and_what_the_last_student_chose_between():
    found = report()["samples"]
    assert [item["source"] for item in found][:2] == ["s1", "s2"]
    assert found[1]["rounds"][0]["student"] == "d e x x" and [r["round"] for r in found[1]["rounds"]] == [
        0,
        1,
    ]
    text = page(report())
    assert "position by position" in text and "<th>3</th>" in text and "▁a&lt;b&gt;<small>25</small>" in text


def test_effects_are_of_the_last_round_on_the_first_for_every_system_and_test():
    outputs = {index: {"test": lines, "test_multi": lines} for index, lines in OUTPUTS.items()}
    several = [REFERENCES, ["a c", None, None]]
    effects = details.em_effects(outputs, {"test": [REFERENCES], "test_multi": several})
    assert [(item["split"], item["system"]) for item in effects] == [
        ("test", "teacher"), ("test", "student"), ("test_multi", "teacher"), ("test_multi", "student")
    ]  # fmt: skip
    student = effects[1]
    assert student["round"] == 1 and student["after"] > student["before"] and 0 <= student["p_value"] <= 1
    assert details.em_effects({0: outputs[0]}, {"test": [REFERENCES]}) == []


def test_words_of_any_teacher_shown_are_not_the_students_own():
    found = report()
    sample = found["samples"][1]
    sample["rounds"] = [
        {"round": 0, "teacher": "d e", "student": "d y"},
        {"round": 1, "teacher": "d y", "student": "d y z"},
        {"round": 2, "teacher": "d e", "student": "d y"},
    ]
    text = page(found | {"samples": [sample]})
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


def test_the_report_is_json():
    assert json.loads(json.dumps(report()))


def test_names_that_do_not_fit_side_by_side_are_slanted():
    few, many = (
        strip_chart({f"a cell with a name {i}": [1.0, 2.0] for i in range(n)}, "BLEU", {}) for n in (2, 9)
    )
    assert "rotate(-60" not in few and 'viewBox="0 0 480 260"' in few
    assert many.count("rotate(-60") == 9
    height = float(many.split('viewBox="0 0 480 ')[1].split('"')[0])
    assert height > 260 + 0.8 * 20 * 6
