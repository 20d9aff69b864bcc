"""A corpus prepared over several processes: the same bytes, the same messages."""

import concurrent.futures
import contextlib
import dataclasses
import gzip
from collections.abc import Callable, Iterator

import pytest

from emnat_jax.artifacts import shards
from emnat_jax.config import Config, DataConfig, VocabConfig
from emnat_jax.data import line_index, record_sets, vocab_sample
from emnat_jax.data.prepare import prepare
from emnat_jax.errors import UserError
from emnat_jax.runtime import processes as processes_module
from emnat_jax.runtime import watchdog
from emnat_jax.runtime.processes import Processes
from tests.data.rows import LINES
from tests.data.test_prepare import NASTY, contents, plain_corpus, silent, write_corpus
from tests.quick import quick
from tests.texts import Texts

COUNTS = (2, 3, 5)


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch):
    """Beats and looks follow each other quickly; blocks and samples are so small that there are several."""
    monkeypatch.setattr(watchdog, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(processes_module, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(line_index, "BLOCK_BYTES", 61)


@contextlib.contextmanager
def run_of(count: int) -> Iterator[list[Processes]]:
    store = Texts()
    found = [Processes(index, count, store) for index in range(count)]
    yield found
    for process in found:
        process._peers.watchdog.stop()


def in_each(count: int, work: Callable[[Processes], object]) -> list:
    """What `work` gives for each of `count` processes, side by side; errors as values."""
    with run_of(count) as found, concurrent.futures.ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(work, process) for process in found]
    return [future.exception() or future.result() for future in futures]


def prepared(config: Config, workdir, count: int) -> dict[str, bytes]:
    """The files that `count` processes make."""
    found = in_each(count, lambda process: prepare(config, workdir, silent, process))
    assert all(isinstance(one, dict) for one in found), found
    assert found == [found[0]] * count
    return contents(workdir)


def odd_corpus(folder) -> Config:
    """Two pairs of files: an empty line at the end, CR LF, no last line end; one is packed; odd lines."""
    config = write_corpus(folder, [*NASTY, *NASTY])
    more = [(f"{LINES[i % 4]} {i}", f"{LINES[(i + 1) % 4]} {i}") for i in range(17)]
    for side, end, column in (("source", "\r\n", 0), ("target", "\n", 1)):
        text = "\ufeff" + end.join(pair[column] for pair in more)
        (folder / f"more.{side}").write_bytes(text.encode())
        (folder / f"packed.{side}").write_bytes(gzip.compress((text + "\n\n").encode()))
    names = {f"train_{s}": f"packed.{s},train.{s},more.{s}" for s in ("source", "target")}
    (folder / "mono").write_text("".join(f"{line}\n" for line in LINES * 3))
    data = dataclasses.replace(config.data, **names, mono_source="mono")
    return dataclasses.replace(config, data=data)


def held_out_corpus(folder) -> Config:
    """The valid split is cut off, a pair of tables the text; some sources stand in it several times."""
    folder.mkdir()
    lines = [f"{LINES[i % 4]} {i % 23}\t{LINES[(i + 1) % 4]} {i}\n" for i in range(60)]
    (folder / "a.tsv").write_text("".join(lines[:31]))
    (folder / "b.tsv.gz").write_bytes(gzip.compress("".join(lines[31:]).encode()))
    names = {"train_tsv": "a.tsv,b.tsv.gz", "valid_rows": 6, "train_rows": 50}
    data = DataConfig(kind="text", root=str(folder), buckets=(40,), rows_per_shard=7, **names)
    return Config(data=data, vocab=VocabConfig(size=330))


def task_corpus(folder) -> Config:
    """Of a task that gives its pairs one after another."""
    return Config(data=DataConfig(kind="demo", train_rows=90, rows_per_shard=20), vocab=VocabConfig(size=400))


ALL = 2_000_000


@pytest.mark.parametrize(
    ("corpus", "sample"),
    quick(
        [
            (odd_corpus, ALL),
            (odd_corpus, 11),
            (held_out_corpus, ALL),
            (held_out_corpus, 11),
            (task_corpus, ALL),
        ],
        [(odd_corpus, 11), (held_out_corpus, ALL)],
    ),
)
def test_any_number_of_processes_makes_the_same_bytes(tmp_path, monkeypatch, corpus, sample):
    monkeypatch.setattr(vocab_sample, "MAX_LINES", sample)
    config = corpus(tmp_path / "corpus")
    prepare(config, tmp_path / "1", silent)
    expected = contents(tmp_path / "1")
    for count in COUNTS:
        assert prepared(config, tmp_path / str(count), count) == expected


def test_more_processes_than_lines_make_the_same_bytes(tmp_path):
    config = write_corpus(tmp_path / "corpus", [("der Hund bellt", "the dog barks"), ("Katze", "cat")])
    prepare(config, tmp_path / "1", silent)
    assert prepared(config, tmp_path / "5", 5) == contents(tmp_path / "1")


def test_each_process_makes_shards_of_its_own(tmp_path, monkeypatch):
    config, made = plain_corpus(tmp_path / "corpus", lines=30), []
    real = shards.UnfinishedSet.write

    def write(self, name, rows):
        made.append(name)
        return real(self, name, rows)

    monkeypatch.setattr(shards.UnfinishedSet, "write", write)
    prepared(config, tmp_path / "work", 3)
    assert sorted(made) == [f"part-{index:05d}-of-00010.tfrecord" for index in range(10)]


def test_a_process_decodes_its_own_lines_alone(tmp_path):
    """But the first, which makes the hash of the whole text."""
    config = odd_corpus(tmp_path / "corpus")
    for count in COUNTS:
        for rest, lines in zip(range(count), read_by_each(config, count), strict=True):
            assert lines == [line for line in range(18 + 22 + 17) if line // 3 % count == rest]


def read_by_each(config: Config, count: int) -> list[list[int]]:
    from emnat_jax.data.corpora import open_split, with_ranges
    from emnat_jax.data.readers import find_readers

    def read(process: Processes) -> list[int]:
        corpus = {"train": open_split(config.data, "train")}
        readers = find_readers(process, lambda: None)
        chunks = with_ranges(corpus, ["train"], config.data, readers)["train"].chunks(3, readers)
        return [pair.line for _, pairs in chunks for pair in pairs]

    return in_each(count, read)


def break_line(path, number: int, data: bytes) -> None:
    lines = path.read_bytes().split(b"\n")
    lines[number] = data
    path.write_bytes(b"\n".join(lines))


MISTAKES = {
    "not UTF-8": lambda folder: break_line(folder / "train.target", 13, b"caf\xe9"),
    "two of them": lambda folder: [
        break_line(folder / f"train.{side}", line, b"caf\xe9")
        for side, line in (("source", 17), ("target", 8))
    ],
    "one line less": lambda folder: break_line(folder / "train.target", 13, b"a\nb"),
    "an empty file": lambda folder: [
        (folder / f"train.{side}").write_bytes(b"") for side in ("source", "target")
    ],
    "no file": lambda folder: (folder / "train.target").unlink(),
    "no training rows": lambda folder: [break_line(folder / "train.source", line, b"") for line in range(20)],
    "cut off": lambda folder: (folder / "train.source").write_bytes(
        gzip.compress((folder / "train.source").read_bytes())[:-20]
    ),
    "the small split": lambda folder: break_line(folder / "test.source", 0, b"caf\xe9"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_by_all_as_by_one(tmp_path, mistake):
    config = plain_corpus(tmp_path / "corpus")
    MISTAKES[mistake](tmp_path / "corpus")
    with pytest.raises(UserError) as alone:
        prepare(config, tmp_path / "1", silent)
    for count in COUNTS:
        found = in_each(count, lambda process, c=count: prepare(config, tmp_path / str(c), silent, process))
        assert [str(error) for error in found] == [str(alone.value)] * count


def test_a_full_disk_on_one_is_told_by_all(tmp_path, monkeypatch):
    config, real = plain_corpus(tmp_path / "corpus"), shards.write_shard

    def write(path, rows):
        if "part-00004" in str(path):
            raise UserError(f"{path}: the disk is full")
        return real(path, rows)

    monkeypatch.setattr(shards, "write_shard", write)
    found = in_each(3, lambda process: prepare(config, tmp_path / "work", silent, process))
    assert [type(error) for error in found] == [UserError] * 3
    assert all("part-00004-of-00007.tfrecord: the disk is full" in str(error) for error in found)


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 2), (5, 1)])
@pytest.mark.parametrize("moment", ["shard", "sample", "manifest"])
def test_a_killed_run_goes_on_over_another_number(tmp_path, monkeypatch, before, after, moment):
    config = plain_corpus(tmp_path / "corpus")
    prepare(config, tmp_path / "whole", silent)
    (module, name), path = {
        "shard": ((shards, "write_shard"), "part-00005"),
        "sample": ((vocab_sample, "atomic_file"), ".sample-0"),
        "manifest": ((record_sets, "finish_dataset"), ""),
    }[moment]
    real = getattr(module, name)

    def kill(*args, **kwargs):
        if path in str(args[0]):
            raise UserError("stands for a kill: all processes end")
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, kill)
    found = in_each(before, lambda process: prepare(config, tmp_path / "work", silent, process))
    is_killed = moment != "sample" or before > 1
    assert [isinstance(one, UserError) for one in found] == [is_killed] * before
    monkeypatch.undo()
    assert prepared(config, tmp_path / "work", after) == contents(tmp_path / "whole")


def test_processes_without_the_files_leave_the_work_to_the_others(tmp_path):
    config, log = plain_corpus(tmp_path / "corpus"), []
    prepare(config, tmp_path / "1", silent)
    elsewhere = dataclasses.replace(config.data, root=str(tmp_path / "elsewhere"))

    def work(process: Processes) -> dict:
        data = elsewhere if process.index == 1 else config.data
        say = log.append if process.is_first else silent
        return prepare(dataclasses.replace(config, data=data), tmp_path / "3", say, process)

    found = in_each(3, work)
    assert found == [found[0]] * 3 and contents(tmp_path / "3") == contents(tmp_path / "1")
    assert log[0] == "prepare: 2 of 3 processes have the text, and do the work"
    data = dataclasses.replace(config.data, root=str(tmp_path / "nowhere"))
    missing = dataclasses.replace(config, data=data)
    errors = in_each(
        2, lambda process: prepare(missing if process.is_first else config, tmp_path / "2", silent, process)
    )
    assert {str(error) for error in errors} == {str(errors[0])} and "no such file" in str(errors[0])


def test_files_that_differ_between_processes_are_refused(tmp_path):
    config = plain_corpus(tmp_path / "corpus")
    other = plain_corpus(tmp_path / "other", lines=19)
    found = in_each(
        3, lambda process: prepare(other if process.index == 2 else config, tmp_path / "w", silent, process)
    )
    assert {str(error) for error in found} == {str(found[0])}
    assert "the files of the train split have [" in str(found[0])


def test_a_second_run_over_several_changes_nothing(tmp_path):
    config = plain_corpus(tmp_path / "corpus")
    first = prepare(config, tmp_path / "work", silent)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*")}
    found = in_each(3, lambda process: prepare(config, tmp_path / "work", silent, process))
    assert found == [first] * 3
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*")} == before
