"""The section on the training after the last round, and its line of the table."""

import dataclasses

import pytest

from emnat_jax.report.convert import dumps, loads
from emnat_jax.report.page import page
from emnat_jax.report.record import FinetuneReport, Report, SystemScores, TrainedScores, Training
from emnat_jax.report.rounds import text_table
from tests.report.made import EFFECT, SCORES, report


def system(bleu, steps=300):
    scores = dataclasses.replace(SCORES, bleu=bleu)
    return TrainedScores(valid=scores, test=scores, training=Training(100, steps, 4.0, "c" * 64))


def effect(over, before, p_value):
    return dataclasses.replace(
        EFFECT, system="finetuned", over=over, before=before, after=22.0, p_value=p_value
    )


def tuned(control):
    effects = [effect("control", 21.5, 0.2)] if control else []
    found = FinetuneReport(
        round=1,
        objective="ngram",
        student=SystemScores(valid=SCORES, test=dataclasses.replace(SCORES, bleu=21.0)),
        finetuned=system(22.0),
        control=system(21.5) if control else None,
        effects=(*effects, effect("student", 21.0, 0.01)),
        made_from={"student": "a" * 64},
        outputs={},
    )
    return dataclasses.replace(report(), finetuned=found)


@pytest.mark.parametrize("control", [True, False])
def test_the_page_and_the_table_compare_it_with_the_student_before_and_its_control(control):
    shown = page(tuned(control))
    assert "<h2>Fine-tuning</h2>" in shown and "student of round 1" in shown and "+300" in shown
    assert "On test over the student before: +1.00 BLEU (p = 0.010)." in shown
    assert ("over the control: +0.50 BLEU (p = 0.200, cannot tell)" in shown) == control
    line = text_table(tuned(control)).splitlines()[-1]
    begin = "fine-tuned for ngram, 300 steps: BLEU 22.00; student of round 1 21.00"
    assert line == begin + (", its control 21.50" if control else "")


def test_without_it_nothing_is_said():
    assert "Fine-tuning" not in page(report()) and "fine-tuned" not in text_table(report())


def test_it_is_read_as_it_was_written():
    assert loads(Report, dumps(tuned(True)), "report.json", "mend") == tuned(True)
