"""The report's page on speed: which systems it sets against each other."""

import dataclasses
import re

from emnat_jax.report.page import page
from emnat_jax.report.timings import BatchTiming, Machine, Timing
from tests.report.made import report
from tests.report.test_convert import RATE


def with_timings(*latency: Timing) -> str:
    """The page of the made report."""
    return page(dataclasses.replace(report(), latency=latency))


def timing(
    role: str, rate: float, device: str = "1 x cpu", about: str = "", size: int = 1, sentences: int = 8
) -> Timing:
    batch = BatchTiming(size, 24, 900.0 / rate, 2e3 / rate, rate, 1.0, 20.0)
    return Timing(f"{role}, round 1{about}", role, 1, device, sentences, "nrefs:1|tok:zh", {}, (batch,))


def test_speed_is_set_beside_quality_against_the_fastest_teacher_on_the_same_device():
    latency = (
        timing("teacher", 20.0, about=", beam"),
        timing("teacher", 50.0),
        timing("teacher", 900.0, device="1 x gpu"),
        timing("teacher", 900.0, about=", fewer", sentences=2),
        timing("student", 100.0),
    )
    text = with_timings(*latency)
    for part in (
        "2.0 times the teacher",
        "1 at a time: 10.0 against 20.0 ms a sentence",
        "Quality and speed",
        "student, round 1, 1: 20 BLEU, 10 ms a sentence",
        "<td>teacher, round 1, beam</td><td>1</td><td>8</td><td>20.00</td><td>50.0</td>"
        "<td>20.0</td><td>45.0</td><td>100.0</td><td>24</td>",
        "BLEU: nrefs:1|tok:zh</p>",
    ):
        assert part in text, part


def test_the_speed_of_the_student_is_not_that_of_another_decoding():
    slow = timing("student", 5.0, about=", rescore=teacher")
    slow = dataclasses.replace(slow, changes={"rescore": "teacher"})
    text = with_timings(timing("teacher", 50.0), timing("student", 100.0), slow)
    assert "2.0 times the teacher" in text and "student, round 1, rescore=teacher" in text
    assert "not measured" in with_timings(timing("teacher", 50.0), slow)


def exported(rate: float, precision: str, cores: int) -> Timing:
    """Of the student, by ONNX Runtime."""
    machine = Machine("1 x cpu", cores, "A processor", "Linux", "3.11", {})
    found = timing("student", rate, about=f", onnx {precision}")
    return dataclasses.replace(found, backend="onnx", precision=precision, machine=machine)


def test_exported_models_stand_beside_the_others_and_the_fastest_counts():
    teacher = dataclasses.replace(timing("teacher", 50.0), machine=exported(1.0, "int8", 2).machine)
    latency = (
        timing("teacher", 9.0),  # of nobody knows how many cores
        exported(900.0, "int8", 1),
        exported(200.0, "int8", 2),
        teacher,
        exported(100.0, "float32", 2),
    )
    text = with_timings(*latency)
    assert "4.0 times the teacher" in text
    assert "student (onnx int8) against the fastest teacher, 1 at a time: 5.0 against 20.0 ms" in text
    for name, cores in (("int8", "1 core"), ("int8", "2 cores"), ("float32", "2 cores")):
        cells = f"<td>student, round 1, onnx {name}</td>(<td>[^<]*</td>)*<td>1 x cpu, {cores}</td>"
        assert re.search(cells, text)


def test_the_last_timing_of_a_system_counts_and_no_comparison_is_made_up():
    text = with_timings(
        timing("student", 100.0),
        timing("teacher", 10.0, size=64),
        timing("student", 50.0),
    )
    assert (
        "20.0 ms a sentence" in text
        and "no teacher timed" in text
        and "<td>10.0</td><td>100.0</td>" not in text
    )


def test_rates_of_texts_and_of_distillation_are_shown_apart_the_last_of_each():
    text = dataclasses.replace(RATE, candidates=1, bleu=20.0, bleu_signature="tok:13a")
    faster = dataclasses.replace(RATE, sources_per_second=2.5)
    kept = (RATE, dataclasses.replace(RATE, candidates=1), text, faster)
    shown = page(dataclasses.replace(report(), throughput=kept))
    device = "<td>64 rows</td><td>1 x cpu, 2 cores</td>"
    ends = "<td>1.7</td><td>2.5</td><td>18</td>"
    lines = [
        f"<td>teacher</td><td>8</td><td>100</td><td>-</td><td>2.5</td>{ends}{device}",
        f"<td>teacher</td><td>1</td><td>100</td><td>-</td><td>2.0</td>{ends}{device}",
        f"<td>teacher</td><td>1</td><td>100</td><td>20.00</td><td>2.0</td>{ends}{device}",
    ]
    assert [shown.count(line) for line in lines] == [1, 1, 1] and "BLEU: tok:13a</p>" in shown
    assert shown.count("<td>teacher</td><td>8</td>") == 1  # not the earlier one
    assert shown.index(lines[2]) < shown.index("Distillation: sources") < shown.index(lines[0])
    assert "<h2>Speed</h2>" not in page(report())
