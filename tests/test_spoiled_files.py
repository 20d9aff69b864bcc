"""Whatever lies in a file that is read: what was meant, or a UserError in one line, and nothing else.

`./launch/test.sh -m slow tests/test_spoiled_files.py` tries forty times as many.
"""

import bz2
import contextlib
import gzip
import json
import lzma
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from etils import epath
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.artifacts.journal import JOURNAL_NAME, made_stages, read_journal
from emnat_jax.artifacts.manifest import FREE, MANIFEST_NAME, load_manifest
from emnat_jax.artifacts.record_index import index_fits
from emnat_jax.artifacts.records import read_shard
from emnat_jax.artifacts.resumable import _read, _there, open_resumable
from emnat_jax.artifacts.saved_config import read_config
from emnat_jax.artifacts.shards import PLAN_NAME, UnfinishedSet, keep_shards_of, read_plan
from emnat_jax.artifacts.text_output import Part
from emnat_jax.config import Config
from emnat_jax.config.convert import from_dict, override, to_dict
from emnat_jax.data.text import read_multi_references, read_text_lines
from emnat_jax.data.text_files import read_tsv
from emnat_jax.data.vocab import load_vocabulary, open_vocabulary
from emnat_jax.em.report import _curve, _seconds
from emnat_jax.em.results import read_evaluation, read_finetuned, read_report, write_finetuned
from emnat_jax.em.stages.begun import read_begun
from emnat_jax.em.timings import read_timings
from emnat_jax.errors import UserError
from emnat_jax.export.folder import About, finish_export, open_export
from emnat_jax.report.record import FinetuneEvaluation
from emnat_jax.report.timings import Timing
from emnat_jax.sweep.cells import Cell
from emnat_jax.sweep.summary import _known, write_sweep_report
from emnat_jax.training.manifest import load_model_manifest
from emnat_jax.training.metrics import _lines_up_to
from tests.em.damages import time_limit
from tests.em.runs import finished_run, small_config, workspace
from tests.spoiled import spoiled_bytes, spoiled_json, spoiled_lines
from tests.sweep.test_summary import finished_cells

FEW, MANY = 25, 1_000
SET, MODEL = "rounds/0/candidates", "rounds/0/student"
SHARD, INDEX = f"{SET}/part-00000-of-00002.tfrecord", f"{SET}/index-00000-of-00002"
CELL = Cell("group", "cell", 1, small_config())
READ_FROM_PIPES = ("text.", ".out.")  # input text; what this file itself opens
LINES = "ein Haus\ta house\nzwei\ttwo\n" * 3


class Reader(NamedTuple):
    """A file of a workdir, in which way it is spoiled, and what reads it."""

    file: str
    spoiled: Callable[[bytes], st.SearchStrategy[bytes]]
    read: Callable[[Path], object]  # of the workdir


def sealed(data: bytes) -> st.SearchStrategy[bytes]:
    return spoiled_json(data, FREE)


def all_of(read: Callable) -> Callable[[Path], object]:
    """Reads an iterator to its end."""
    return lambda directory: list(read(directory))


READERS = {
    "manifest_of_a_set": Reader(f"{SET}/{MANIFEST_NAME}", sealed, all_of(lambda d: read_dataset(d / SET))),
    "shard": Reader(SHARD, spoiled_bytes, all_of(lambda d: read_dataset(d / SET))),
    "shard_without_a_hash": Reader(SHARD, spoiled_bytes, all_of(lambda d: read_shard(d / SHARD))),
    "manifest_of_a_model": Reader(
        f"{MODEL}/{MANIFEST_NAME}", sealed, lambda d: load_model_manifest(d / MODEL, vocabulary_of(d))
    ),
    "trained_from": Reader(
        f"{MODEL}/{paths.TRAINED_FROM}", spoiled_json, lambda d: read_begun(epath.Path(d / MODEL))
    ),
    "evaluation": Reader(paths.evaluation(1), spoiled_json, lambda d: read_evaluation(epath.Path(d), 1)),
    "config": Reader(paths.CONFIG, spoiled_json, read_config),
    "journal": Reader(JOURNAL_NAME, spoiled_lines, read_journal),
    "journal_for_the_config": Reader(JOURNAL_NAME, spoiled_lines, read_config),
    "vocabulary": Reader(f"{paths.VOCABULARY}/model", spoiled_bytes, lambda d: load_vocabulary(d / "vocab")),
    "manifest_of_the_vocabulary": Reader(
        f"{paths.VOCABULARY}/{MANIFEST_NAME}", sealed, lambda d: load_vocabulary(d / "vocab")
    ),
    "plan": Reader(f"half/{PLAN_NAME}", spoiled_json, lambda d: read_plan(d / "half")),
    "timings": Reader(
        paths.LATENCY, spoiled_lines, lambda d: read_timings(epath.Path(d), Timing, lambda text: None)
    ),
    "text": Reader("text.txt", spoiled_bytes, all_of(lambda d: read_text_lines(d / "text.txt"))),
    "gzip": Reader("text.gz", spoiled_bytes, all_of(lambda d: read_text_lines(d / "text.gz"))),
    "bzip2": Reader("text.bz2", spoiled_bytes, all_of(lambda d: read_text_lines(d / "text.bz2"))),
    "xz": Reader("text.xz", spoiled_bytes, all_of(lambda d: read_text_lines(d / "text.xz"))),
    "tsv": Reader("text.tsv", spoiled_bytes, all_of(lambda d: read_tsv(d / "text.tsv"))),
    "metrics": Reader(
        f"{MODEL}/{paths.METRICS}", spoiled_lines, lambda d: _curve(workspace(d), 0, "student")
    ),
    "metrics_of_a_training_that_goes_on": Reader(
        f"{MODEL}/{paths.METRICS}",
        spoiled_lines,
        lambda d: _lines_up_to(epath.Path(d, MODEL, paths.METRICS), 20, evaluated=True),
    ),
    "journal_for_the_times": Reader(
        JOURNAL_NAME, spoiled_lines, lambda d: json.dumps(_seconds(epath.Path(d)))
    ),
    "journal_for_what_was_made": Reader(JOURNAL_NAME, spoiled_lines, made_stages),
    "index": Reader(INDEX, spoiled_bytes, lambda d: index_fits(d / INDEX, _entry_of(d))),
    "note_of_a_shard": Reader(
        "half/part-0.json", spoiled_json, lambda d: unfinished(d).made("part-0.tfrecord")
    ),
    "plan_of_a_set": Reader("other/PLAN.json", spoiled_json, lambda d: keep_shards_of(d / "other", {"a": 1})),
    "record_of_a_text": Reader(".out.part.log", spoiled_lines, lambda d: _earlier(d / "out")),
    "report_of_a_cell": Reader(
        f"{CELL.folder}/{paths.REPORT_JSON}", spoiled_json, lambda d: CELL.is_finished(epath.Path(d))
    ),
    "report_of_a_sweep": Reader(
        "sweep/report/sweep.json", spoiled_json, lambda d: _known(epath.Path(d / "sweep/report/sweep.json"))
    ),
    "vocabulary_that_is_named": Reader(
        f"{paths.VOCABULARY}/model", spoiled_bytes, lambda d: open_vocabulary(d / "vocab/model")
    ),
    "manifest_of_an_export": Reader(f"export/{MANIFEST_NAME}", sealed, lambda d: open_export(d / "export")),
    "file_of_an_export": Reader("export/float32.onnx", spoiled_bytes, lambda d: open_export(d / "export")),
    "evaluation_of_a_fine_tuning": Reader(
        paths.FINETUNE_EVALUATION, spoiled_json, lambda d: read_finetuned(epath.Path(d))
    ),
    "report": Reader(paths.REPORT_JSON, spoiled_json, read_report),
    "references": Reader("text.tsv", spoiled_bytes, lambda d: read_multi_references(d / "text.tsv")),
}


def _export(place: Path) -> None:
    """A folder of an exported model, but for what the graph would be."""
    vocabulary, manifest = load_vocabulary(place / "vocab"), load_manifest(place / MODEL)
    _, model = load_model_manifest(place / MODEL, vocabulary.fingerprint)
    (place / "export").mkdir()
    for name in ("float32", "int8"):
        (place / f"export/{name}.onnx").write_bytes(b"a graph")
    about = About("onnx", model, (8,), ("int8", "float32"), "float32", {"sentences": 4})
    finish_export(place / "export", about, vocabulary, manifest.content_hash, seed=1)


def unfinished(directory: Path) -> UnfinishedSet:
    return UnfinishedSet(epath.Path(directory / "half"), {"a": 1})


def _entry_of(directory: Path):
    return load_manifest(directory / SET, verify_shards=False).shards[0]


def _earlier(path: Path) -> list:
    """The parts that are there of a text; what lies there stays."""
    with (
        open(path.with_name(".out.part"), "rb") as text,
        open(path.with_name(".out.part.log"), "rb") as record,
    ):
        return list(_there(text.fileno(), _read(record)[2]))


def vocabulary_of(directory: Path) -> str:
    return json.loads((directory / paths.VOCABULARY / MANIFEST_NAME).read_bytes())["fingerprint"]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory) -> Path:
    """A finished run with one file of each kind."""
    place = tmp_path_factory.mktemp("spoiled") / "run"
    shutil.copytree(finished_run(tmp_path_factory), place)
    for name, pack in {"txt": bytes, "tsv": bytes, "gz": gzip.compress}.items():
        (place / f"text.{name}").write_bytes(pack(LINES.encode()))
    (place / "text.bz2").write_bytes(bz2.compress(LINES.encode()))
    (place / "text.xz").write_bytes(lzma.compress(LINES.encode()))
    (place / "half").mkdir()
    (place / "half" / PLAN_NAME).write_text(json.dumps({"options": {"beam": 4}, "fingerprints": {"a": "b"}}))
    path = place / paths.LATENCY
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"schema_version": 2, "name": "teacher"}\n' * 2)
    (place / "other").mkdir()
    (place / "other" / PLAN_NAME).write_text(json.dumps({"a": 1}))
    unfinished(place).write("part-0.tfrecord", list(read_dataset(place / SET))[:3])
    with (
        contextlib.suppress(KeyboardInterrupt),
        open_resumable(str(place / "out"), {"a": 1}, print) as output,
    ):
        for part in range(2):
            output.write(["one", "two"], Part("digest", 2, {"part": part}))
        raise KeyboardInterrupt  # it stays half written
    student = read_evaluation(epath.Path(place), 1).student
    tuned = FinetuneEvaluation(round=1, student=student, finetuned=student, made_from={}, outputs={})
    write_finetuned(epath.Path(place), tuned)
    _export(place)
    write_sweep_report(finished_cells(place / "sweep"), place / "sweep")
    (place / CELL.folder / "report").mkdir(parents=True)
    shutil.copy(place / paths.REPORT_JSON, place / CELL.folder / paths.REPORT_JSON)
    return place


def check(workdir: Path, name: str, examples: int) -> None:
    reader = READERS[name]
    path = workdir / reader.file
    data = path.read_bytes()

    @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(reader.spoiled(data))
    def read(spoiled: bytes) -> None:
        path.write_bytes(spoiled)
        try:
            reader.read(workdir)
        except UserError as error:
            assert "\n" not in str(error).strip()

    try:
        reader.read(workdir)
        read()
    finally:
        path.write_bytes(data)


@pytest.mark.parametrize("name", READERS)
def test_what_a_spoiled_file_gives_is_a_user_error(workdir, name):
    check(workdir, name, FEW)


@pytest.mark.parametrize(
    "name", [name for name in READERS if not READERS[name].file.startswith(READ_FROM_PIPES)]
)
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(workdir, name):
    path = workdir / READERS[name].file
    aside = path.rename(workdir / "aside")
    os.mkfifo(path)
    try:
        with time_limit(seconds=10):
            READERS[name].read(workdir)
    except (UserError, OSError) as error:
        assert "\n" not in str(error) and str(path) in str(error)
    finally:
        path.unlink()
        aside.rename(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_what_many_spoiled_files_give_is_a_user_error(workdir, name):
    check(workdir, name, MANY)


KEYS = ("seed", "em.rounds", "em.candidates_from", "data.buckets", "student.ctc.beam", "select.alpha", "a.b")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.sampled_from(KEYS), st.one_of(st.text(max_size=30), st.sampled_from(["[" * 9_000, "(" * 9_000])))
def test_an_option_of_any_text(key, text):
    try:
        values = to_dict(Config())
        override(values, key, text)
        from_dict(values)
    except UserError as error:
        assert "\n" not in str(error).strip()
