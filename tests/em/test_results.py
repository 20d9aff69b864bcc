"""What finished rounds left in a workdir: evaluations, timings; a damaged file is named with what to do."""

import dataclasses

import pytest
from etils import epath

from emnat_jax.config import Config
from emnat_jax.em.evaluate import EvaluationOptions, Texts, keep_outputs
from emnat_jax.em.results import finished_rounds, outputs_in, read_evaluation
from emnat_jax.em.timings import keep_timing, read_timings
from emnat_jax.errors import UserError
from emnat_jax.report.convert import dumps
from emnat_jax.report.record import SYSTEMS, Evaluation, SystemScores
from emnat_jax.report.timings import BatchTiming, Throughput, Timing
from tests.em.runs import small_config
from tests.report.made import NCM_BY_SPLIT, SCORES
from tests.report.test_convert import RATE

SYSTEM = SystemScores(valid=SCORES, test=SCORES)
TIMING = Timing(
    "teacher",
    "teacher",
    0,
    "1 x cpu",
    8,
    "tok:13a",
    {},
    (BatchTiming(1, 20, 1.0, 2.0, 3.0, 4.0, 20.0),),
)


@pytest.fixture
def directory(tmp_path):
    """A workdir whose round 1 was evaluated."""
    (tmp_path / "rounds/1").mkdir(parents=True)
    evaluation = Evaluation(round=1, teacher=SYSTEM, student=SYSTEM, ncm=NCM_BY_SPLIT)
    (tmp_path / "rounds/1/eval.json").write_text(dumps(evaluation))
    return epath.Path(tmp_path)


def test_a_round_is_finished_when_its_evaluation_is_there(directory):
    assert finished_rounds(directory, 2) == [1] and finished_rounds(directory, 0) == []
    assert read_evaluation(directory, 1).student == SYSTEM


def test_a_damaged_evaluation_is_named_with_what_to_do(directory):
    path = directory / "rounds/1/eval.json"
    path.write_text(path.read_text().replace('"bleu": 20.0', '"bleu": null', 1))
    with pytest.raises(
        UserError, match=r"rounds/1/eval.json is damaged: teacher.valid.bleu .*; run `emnat em`, which"
    ):
        read_evaluation(directory, 1)


def test_timings_are_kept_in_order_and_a_damaged_line_is_named(directory):
    said: list[str] = []
    assert read_timings(directory, Timing, print) == read_timings(directory, Throughput, print) == ()
    later = dataclasses.replace(TIMING, changes={"decoder": "beam", "length_candidates": 2})
    for timing in (TIMING, RATE, later):
        keep_timing(directory, timing)
    assert read_timings(directory, Timing, said.append) == (TIMING, later)
    assert read_timings(directory, Throughput, said.append) == (RATE,)
    assert said == []
    with (directory / "report/latency.jsonl").open("a") as file:
        file.write('{"schema_version": 2, "name":')
    path = directory / "report/latency.jsonl"
    path.write_text(path.read_text().replace("20.0", "21.0", 1))
    assert read_timings(directory, Timing, said.append) == (later,)
    assert [text.split(": ")[0].rpartition("/")[2] for text in said] == [
        "latency.jsonl:1 is left out",
        "latency.jsonl:3 is left out",
    ]


def test_a_timing_after_one_that_was_cut_short_is_whole(directory):
    keep_timing(directory, TIMING)
    path = directory / "report/latency.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    keep_timing(directory, TIMING)
    said: list[str] = []
    assert read_timings(directory, Timing, said.append) == (TIMING,)
    assert [text.split(": ")[0].rpartition("/")[2] for text in said] == ["latency.jsonl:1 is left out"]


def test_outputs_of_systems_that_there_are_no_more_are_none(tmp_path):
    """A run was killed before eval.json, and goes on without the rescored system: the report has it not."""
    folder, options = epath.Path(tmp_path), EvaluationOptions.of(small_config())
    texts = Texts({}, {split: [["a b"]] for split in ("valid", "test")}, {}, ())
    for systems in (["student", "student_rescored"], ["student"]):
        lines = {(name, split): ["a b"] for name in systems for split in texts.references}
        _, written = keep_outputs(folder, options, texts, lines)
        assert outputs_in(folder, "test", SYSTEMS, written) == {name: ["a b"] for name in systems}


def changed(config: Config, group: str, **values) -> EvaluationOptions:
    part = dataclasses.replace(getattr(config, group), **values)
    return EvaluationOptions.of(dataclasses.replace(config, **{group: part}))


def test_options_of_an_evaluation_are_what_its_result_depends_on():
    config = small_config()
    ours = EvaluationOptions.of(config)
    assert ours != changed(config, "evaluation", ncm_rows=65)
    assert ours != changed(config, "evaluation", rescored_candidates=0)
    assert ours != changed(config, "data", options=dataclasses.replace(config.data.task_options, modes=2))
    assert ours != changed(config, "data", kind="demo", options=None) and ours != changed(
        config, "data", buckets=(8, 9)
    )
    assert (
        ours
        != changed(config, "data", test_multi="here.tsv")
        == changed(config, "data", test_multi="there.tsv")
    )
    assert ours != changed(config, "em", student_data="raw")
    assert ours == changed(config, "evaluation", samples=1) == changed(config, "data", decode_rows=1)
    assert ours == changed(config, "em", rounds=5) == changed(config, "teacher_train", steps=1)
