"""Records as JSON: what is read is what was written, and a damaged file is named with its field."""

import dataclasses
import json

import pytest

from emnat_jax.errors import UserError
from emnat_jax.report.convert import dumps, from_json, loads, to_json
from emnat_jax.report.record import Report, Selection, SystemScores
from emnat_jax.report.sweep_record import (
    CellSummary,
    Gain,
    GainOverSeeds,
    OverSeeds,
    Run,
    Steps,
    Subject,
    SweepReport,
)
from emnat_jax.report.timings import BatchTiming, Machine, Throughput, Timing
from tests.report.made import EFFECT, SCORES, SELECTION, report

TIMING = Timing(
    "student",
    "student",
    None,
    "1 x cpu",
    8,
    "tok:13a",
    {"decoder": "beam", "length_candidates": 3},
    (BatchTiming(1, 20, 1.0, 2.0, 3.0, 4.0, 20.0),),
)
MACHINE = Machine("1 x cpu", 2, "A processor", "Linux", "3.11", {"jax": "1", "onnxruntime": None})
EXPORTED = dataclasses.replace(TIMING, backend="onnx", precision="int8", machine=MACHINE)
RATE = Throughput(
    name="teacher",
    role="teacher",
    round=0,
    changes={},
    backend="jax",
    precision="float32",
    candidates=8,
    batch=64,
    batch_unit="rows",
    tried={"32": 1.0, "64": 2.0},
    sources=100,
    target_tokens=900,
    passes=3,
    median_seconds=50.0,
    fastest_seconds=40.0,
    slowest_seconds=60.0,
    sources_per_second=2.0,
    target_tokens_per_second=18.0,
    ratio=1.0,
    first_pass_seconds=70.0,
    bleu=None,
    bleu_signature=None,
    machine=MACHINE,
)
GAIN = Gain("first", 1.5, 0.01, ("a", "b", "c", "nrefs:1"))
STEPS = Steps(40, 60)
RUN = Run(
    "g",
    "better",
    1,
    "cells/g/better/1",
    2,
    STEPS,
    {"student": 3.0},
    {"test": "a"},
    {"test": "c"},
    {"test": "nrefs:1"},
    {"test": GAIN},
)
SWEEP = SweepReport(
    about=Subject("de", "en", "the bundled demo", 10, (1,)),
    runs=(RUN,),
    baselines={"g": "first"},
    cells=(
        CellSummary(
            "g",
            "better",
            (1,),
            STEPS,
            {"student": OverSeeds(3.0, None, (3.0,))},
            {"test": GainOverSeeds(1.5, 0.5, (1.0, 2.0), (0.01, 0.02))},
        ),
    ),
    missing=(),
    signatures={"test": "nrefs:1"},
)


def full_report() -> Report:
    """The made report with everything that can be absent."""
    made = report()
    multi = dataclasses.replace(SCORES, share_valid=0.5)
    rescored = SystemScores(valid=SCORES, test=SCORES, test_multi=multi)
    first = dataclasses.replace(made.rounds[0], student_rescored=rescored)
    rounds = (first, *made.rounds[1:])
    return dataclasses.replace(made, latency=(TIMING,), stopped="enough", rounds=rounds)


def read(cls, text: str):
    return loads(cls, text, "run/report.json", "make it anew.")


@pytest.mark.parametrize(
    "record",
    [full_report(), report(rounds=1), TIMING, EXPORTED, RATE, SWEEP, EFFECT],
    ids=lambda r: type(r).__name__,
)
def test_what_is_read_is_what_was_written(record):
    assert read(type(record), dumps(record)) == record


def test_timings_of_an_earlier_version_are_still_read():
    """Lines of latency.jsonl from before systems were timed side by side."""
    line = (
        '{"schema_version": 2, "name": "student", "role": "student", "round": null, "device": "1 x cpu", '
        '"sentences": 8, "bleu_signature": "tok:13a", '
        '"changes": {"decoder": "beam", "length_candidates": 3}, '
        '"batches": [{"batch": 1, "calls": 20, "median_ms": 1.0, "p95_ms": 2.0, "sentences_per_second": 3.0, '
        '"first_pass_seconds": 4.0, "bleu": 20.0}]}'
    )
    assert read(Timing, line) == TIMING and TIMING.backend == "jax"


def test_report_json_has_the_keys_of_the_contract():
    values = json.loads(dumps(report()))
    assert values["schema_version"] == 2 and {"rounds", "provenance", "config", "environment"} <= set(values)
    for item in values["rounds"]:
        assert {"round", "teacher", "student", "selection", "ncm"} <= set(item)


def damaged(place: tuple, value) -> str:
    """The JSON of the made report with another value at a place."""
    values = json.loads(dumps(report()))
    inner = values
    for key in place[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return json.dumps(values)


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (("rounds", 0, "teacher", "test", "bleu"), "x", r"rounds\[0\].teacher.test.bleu is 'x', not a num"),
        (("rounds", 0, "round"), 1.5, r"rounds\[0\].round is 1.5, not a whole number"),
        (("rounds", 0, "ncm", "train", "sentences"), True, "rounds.*sentences is True, not a whole number"),
        (("rounds", 1, "student"), [], r"rounds\[1\].student is \[\], not an object"),
        (("curves", 0, "loss", 0), [1, 2.0, 3], r"curves\[0\].loss\[0\] has 3 items, not 2"),
        (("provenance", "data/train", "rows"), None, r"provenance.data/train.rows is None"),
        (("rounds", 0, "ncm"), ..., r"rounds\[0\].ncm is missing"),
        (("rounds", 0, "nmc"), 1, r"rounds\[0\].nmc is no field"),
        (("stopped",), 3, "stopped is 3, not a text"),
    ],
)
def test_a_damaged_file_is_named_with_its_field(place, value, says):
    with pytest.raises(UserError, match=f"^run/report.json is damaged: {says}.*; make it anew.$"):
        read(Report, damaged(place, value))


def test_a_file_that_is_cut_short_is_damaged():
    with pytest.raises(UserError, match=r"^run/report.json is damaged \(.*\); make it anew.$"):
        read(Report, dumps(report())[:-20])


@pytest.mark.parametrize(
    ("version", "says"),
    [
        (3, "version 3, this emnat_jax reads 2; update the package"),
        (1, "version 1, this emnat_jax reads 2; make it anew"),
        (..., "version None, .*; make it anew"),
    ],
)
def test_another_schema_version_is_refused_with_a_sentence(version, says):
    with pytest.raises(UserError, match=says):
        read(Report, damaged(("schema_version",), version))
    with pytest.raises(UserError, match="version None"):
        read(Report, "[]")


def test_a_whole_number_is_a_number():
    text = dumps(EFFECT).replace("20.0", "20")
    assert read(type(EFFECT), text) == EFFECT


def test_choices_that_were_never_compared_with_references_are_read():
    """As in the workdir of a version that did not measure it."""
    values = to_json(SELECTION)
    for name in ("compared_rows", "quality", "rank1_quality"):
        del values[name]
    found = from_json(Selection, values, "MANIFEST.json", "make it again")
    assert found == SELECTION and found.quality is found.rank1_quality is None
