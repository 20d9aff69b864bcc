"""The report's page: what it says, that it needs nothing from elsewhere, that a browser shows it."""

import html.parser
import json
import re

import pytest

from emnat_jax.em import details
from emnat_jax.evaluation import lengths
from emnat_jax.report import charts
from emnat_jax.report.page import page
from tests.browser import NEEDS_BROWSER, shown

REFERENCES = ["a b c", "d e f g h i j", "k l m n o p q r s t u v"]
OUTPUTS = {0: {"ar": ["a b c", "d e e g", "k <b> l"], "nar": ["a a c", "d e x x", "k l"]}}
OUTPUTS[1] = {"ar": ["a b c", "d e f g h i j", "k l m"], "nar": ["a b c", "d e f g x", "k l m n o"]}
SCORES = {
    "bleu": 20.0,
    "bleu_signature": "nrefs:1|tok:13a",
    "chrf": 30.0,
    "length_ratio": 0.9,
    "repeat_rate": 0.05,
    "type_token_ratio": 0.2,
}
NCM = {"ncm": 1.2, "ar_nll": 0.9, "total_correlation": 0.3}


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
                 "ar0_log_prob_per_token": -1.0, "teacher_ar0_log_prob_per_token": -0.9}  # fmt: skip
    trained = {"rows": 100, "step": 40}
    items = [
        {"round": index, "ncm": {"train": NCM, "valid": NCM}, "selection": selection if index == 0 else None}
        | {role: {"test": {**SCORES, "bleu": 20.0 + index}, "training": trained} for role in ("ar", "nar")}
        for index in range(rounds)
    ]
    data = {"source_language": "de", "target_language": "en", "kind": "text", "tfds": None}
    made = {
        "content_hash": "f" * 64,
        "fingerprints": {"corpus": "e" * 64},
        "rows": 100,
        "dropped": {"empty_line": 2},
    }
    return {
        "rounds": items,
        "curves": [{"round": 0, "role": role, "loss": [[1, 5.0], [2, 3.0]], "valid_loss": [[2, 4.0]]} for role in ("ar", "nar")],
        "by_length": {str(index): lengths.by_length(lines, REFERENCES) for index, lines in outputs.items()},
        "samples": details.samples([evaluation(index, lines) for index, lines in outputs.items()]),
        "em_effect": {"round": 1, "before": 20.0, "after": 21.0, "p_value": 0.3, "signature": "s"} if rounds > 1 else None,
        "latency": [], "stopped": None, "provenance": {"data/train": made}, "seconds": {"data/train": 3.0},
        "config": {"seed": 1, "data": data, "teacher": {"family": "ar"}, "student": {"family": "nar"}},
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
    for part in ("de to en", "100 pairs", "20.0 BLEU", "21.0 BLEU", "Did EM help?", "cannot tell", "paired bootstrap",
                 "one seed", "nrefs:1|tok:13a", "not measured", "data/train", "empty_line 2", "posterior", "75.0%"):  # fmt: skip
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


@pytest.mark.parametrize(("after", "p_value", "says"), [(22.0, 0.01, "yes: +2.0"), (18.0, 0.01, "no, it hurt: -2.0"), (22.0, 0.2, "cannot tell")])  # fmt: skip
def test_a_difference_counts_where_the_test_can_tell(after, p_value, says):
    effect = {"round": 1, "before": 20.0, "after": after, "p_value": p_value, "signature": "s"}
    assert says in page(report() | {"em_effect": effect})


def test_speed_is_set_beside_quality():
    timing = {"median_ms": 10.0, "sentences_per_second": 100.0}
    latency = [
        {
            "name": f"{role}, round 1",
            "role": role,
            "round": 1,
            "bleu": 20.0,
            "figures": {"batch_1": timing | {"median_ms": ms}},
        }
        for role, ms in (("ar", 30.0), ("nar", 10.0))
    ]
    text = page(report() | {"latency": latency})
    assert "3.0 times the teacher" in text and "Quality and speed" in text and "nar, round 1, batch 1" in text


def test_examples_show_every_round_and_what_the_last_student_chose_between():
    found = report()["samples"]
    assert [item["source"] for item in found][:2] == ["s1", "s2"]
    assert found[1]["rounds"][0]["nar"] == "d e x x" and [r["round"] for r in found[1]["rounds"]] == [0, 1]
    text = page(report())
    assert "position by position" in text and "<th>3</th>" in text and "▁a&lt;b&gt;<small>25</small>" in text


def test_the_effect_is_that_of_the_last_student_on_round_0():
    effect = details.em_effect(OUTPUTS, REFERENCES)
    assert effect["round"] == 1 and effect["after"] > effect["before"] and 0 <= effect["p_value"] <= 1
    assert details.em_effect({0: OUTPUTS[0]}, REFERENCES) is None


def test_charts_keep_every_mark_inside():
    drawn = charts.line_chart({"one": [(0, -3.0), (1000, 8.0)], "flat": [(500, 2.0)]}, "update", "loss")
    drawn += charts.bar_chart(["a", "b"], {"x": [0.0, 1e-3]}, "g", "v") + charts.scatter(
        {"s": (2.0, 5.0)}, "ms", "BLEU"
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
