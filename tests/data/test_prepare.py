import dataclasses
import itertools
import json

import pytest

from emnat_jax.artifacts import shards
from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.artifacts.manifest import load_manifest
from emnat_jax.config import Config, DataConfig, ModesOptions, VocabConfig
from emnat_jax.data import record_sets, workdir_vocabulary
from emnat_jax.data.overlap import Overlap, joined_report
from emnat_jax.data.prepare import prepare
from emnat_jax.data.text import TextPair
from emnat_jax.data.vocab import load_vocabulary
from emnat_jax.errors import UserError
from emnat_jax.types import EOS
from tests.data.rows import LINES

NASTY = [
    ("der Hund\u2028bellt", "the dog\u2028barks"),  # kept: a separator of Unicode is text
    ("", "empty source"),
    ("leeres Ziel", " \u3000"),
    ("Tab\tist erlaubt", "tabs\tare fine"),
    ("null\x00zeichen", "nul"),
    ("c1", "next\x85line"),
    ("Familie 👩‍👩‍👧 😀", "family e\u0301 שלום"),
    ("lang " * 60, "long"),
    ("Hund", "long " * 60),
    ("der Hund\u2028bellt", "the dog\u2028barks"),  # the same line again is a row again
    ("zurück\r", "inner return"),
]
KEPT = [0, 3, 6, 9]


def write_corpus(folder, train=NASTY, valid=None, test=None) -> Config:
    folder.mkdir(exist_ok=True)
    valid = valid or [("das ist neu", "this is new")]
    for split, pairs in (("train", train), ("valid", valid), ("test", test or valid)):
        for side, column in (("source", 0), ("target", 1)):
            lines = "".join(pair[column] + "\n" for pair in pairs)
            (folder / f"{split}.{side}").write_bytes(lines.encode())
    names = {
        f"{split}_{side}": f"{split}.{side}"
        for split in ("train", "valid", "test")
        for side in ("source", "target")
    }
    data = DataConfig(kind="text", root=str(folder), buckets=(16, 40), rows_per_shard=3, **names)
    return Config(data=data, vocab=VocabConfig(size=340))


def plain_corpus(folder, lines=20) -> Config:
    train = [(f"{LINES[2 + i % 2]} {i}", f"{LINES[i % 2]} {i}") for i in range(lines)]
    return write_corpus(folder, train)


def contents(workdir) -> dict[str, bytes]:
    """Bytes of every file, the time of creation taken out."""
    files = {}
    for path in workdir.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            if path.name == "MANIFEST.json":
                data = json.dumps(json.loads(data) | {"created": ""}).encode()
            files[str(path.relative_to(workdir))] = data
    return files


def silent(_: str) -> None:
    """A log that nobody reads."""


def test_nasty_training_rows_are_dropped_by_reason_and_the_others_are_whole(tmp_path):
    summary = prepare(write_corpus(tmp_path / "corpus"), tmp_path / "work", silent)
    assert summary["train"]["dropped"] == {"empty_line": 2, "control_character": 2, "over_long": 2}
    rows = list(read_dataset(tmp_path / "work/data/train"))
    assert summary["train"]["rows_in"] == 11 and summary["train"]["rows_out"] == len(rows)
    assert [row.row for row in rows] == [*KEPT, 10]
    for row in rows[:-1]:
        assert (row.source_text, row.target_text) == NASTY[row.row]


def test_a_line_of_which_nothing_is_visible_is_empty(tmp_path):
    odd = [("\u200b", "x"), ("x", "\ufeff \u2060"), ("\u0645\u06cc\u200c\u062e", "x")]
    config = write_corpus(tmp_path / "corpus", [*NASTY, *odd], test=[*NASTY, *odd])
    summary = prepare(config, tmp_path / "work", silent)
    assert summary["train"]["dropped"]["empty_line"] == 2 + 2
    assert list(read_dataset(tmp_path / "work/data/train"))[-1].source_text == odd[-1][0]
    *_, invisible, other, _ = read_dataset(tmp_path / "work/data/test")
    assert invisible.source.tolist() == other.targets[0].tolist() == [EOS]


def test_tokens_of_a_row_are_its_text_and_one_eos(tmp_path):
    prepare(write_corpus(tmp_path / "corpus"), tmp_path / "work", silent)
    vocabulary = load_vocabulary(tmp_path / "work/vocab")
    for row in read_dataset(tmp_path / "work/data/train"):
        for tokens, text in ((row.source, row.source_text), (row.targets[0], row.target_text)):
            assert tokens[-1] == EOS and EOS not in tokens[:-1]
            assert vocabulary.decode(tokens) == text.replace("\t", " ")


def test_evaluation_rows_are_never_dropped_and_their_references_stay_whole(tmp_path):
    config = write_corpus(tmp_path / "corpus", test=NASTY)
    summary = prepare(config, tmp_path / "work", silent)
    rows = list(read_dataset(tmp_path / "work/data/test"))
    assert [row.row for row in rows] == list(range(len(NASTY)))
    assert [row.target_text for row in rows] == [target for _, target in NASTY]
    assert all(len(t) <= 40 and t[-1] == EOS for row in rows for t in (row.source, *row.targets))
    assert len(rows[7].source) == 40 and len(rows[8].targets[0]) == 40
    assert summary["test"]["altered"] == {"control_character": 2, "over_long": 2}
    assert summary["test"]["dropped"] == {} and summary["test"]["rows_out"] == 11
    assert rows[1].source.tolist() == [EOS]


def test_rows_that_are_not_for_training_do_not_shape_the_vocabulary(tmp_path):
    odd = [("\x01ЖЖЖ", "ЖЖЖ"), ("ЖЖЖ", "")]
    for name, train in (("with", NASTY + odd * 5), ("without", NASTY)):
        prepare(write_corpus(tmp_path / f"corpus_{name}", train), tmp_path / name, silent)
    one, other = (load_vocabulary(tmp_path / name / "vocab") for name in ("with", "without"))
    assert one.fingerprint == other.fingerprint


def test_shards_are_cut_by_line_of_the_corpus(tmp_path):
    prepare(write_corpus(tmp_path / "corpus"), tmp_path / "work", silent)
    manifest = load_manifest(tmp_path / "work/data/train")
    assert [shard["rows"] for shard in manifest.shards] == [1, 1, 1, 2]  # of lines 0-2, 3-5, 6-8, 9-10
    assert manifest.fingerprints["vocabulary"] == load_vocabulary(tmp_path / "work/vocab").fingerprint


def test_a_second_run_changes_nothing_and_needs_no_corpus(tmp_path):
    config = plain_corpus(tmp_path / "corpus")
    first = prepare(config, tmp_path / "work", silent)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*")}
    for path in (tmp_path / "corpus").iterdir():
        path.unlink()
    assert prepare(config, tmp_path / "work", silent) == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*")} == before


class Killed(BaseException):
    """Stands for a kill: no handler of the program catches it."""


def test_a_run_killed_at_any_write_and_run_again_ends_with_the_same_bytes(tmp_path, monkeypatch):
    config = plain_corpus(tmp_path / "corpus")
    prepare(config, tmp_path / "whole", silent)
    expected = contents(tmp_path / "whole")
    names = dict.fromkeys(("finish_dataset", "keep_shards_of", "write_shard"), record_sets)
    names |= dict.fromkeys(("train_vocabulary", "keep_plan"), workdir_vocabulary)
    names |= {"read_or_make": shards.UnfinishedSet, "write_text": shards}
    real = {name: getattr(module, name) for name, module in names.items()}

    def killer(calls, after):
        def wrap(name):
            def call(*args, **kwargs):
                if next(calls) == after:
                    raise Killed
                return real[name](*args, **kwargs)

            return call

        return wrap

    for after in itertools.count():
        workdir = tmp_path / f"killed{after}"
        wrap = killer(itertools.count(), after)
        for name, module in names.items():
            monkeypatch.setattr(module, name, wrap(name))
        try:
            prepare(config, workdir, silent)
            break
        except Killed:
            pass
        for name, module in names.items():
            monkeypatch.setattr(module, name, real[name])
        prepare(config, workdir, silent)
        assert contents(workdir) == expected
    # Vocabulary, 2 plans (and their texts), 7 + 1 + 1 shards, 7 notes, 3 manifests: each was killed once.
    assert after == 24


def test_finished_shards_of_a_killed_run_are_not_encoded_again(tmp_path, monkeypatch):
    config = plain_corpus(tmp_path / "corpus")
    real = shards.write_shard

    def killed(path, rows):
        if "00003-of" in str(path):
            raise Killed
        return real(path, rows)

    monkeypatch.setattr(shards, "write_shard", killed)
    with pytest.raises(Killed):
        prepare(config, tmp_path / "work", silent)
    first = {p: p.stat().st_mtime_ns for p in (tmp_path / "work/data/train").glob("part-*.tfrecord")}
    assert len(first) == 3
    damaged = sorted(first)[1]
    damaged.write_bytes(damaged.read_bytes()[:-3])
    monkeypatch.setattr(shards, "write_shard", real)
    prepare(config, tmp_path / "work", silent)
    assert [p.stat().st_mtime_ns == t for p, t in sorted(first.items())] == [True, False, True]
    assert [row.row for row in read_dataset(tmp_path / "work/data/train")] == list(range(20))


def test_shards_of_a_killed_run_with_other_text_are_not_used(tmp_path, monkeypatch):
    config = plain_corpus(tmp_path / "corpus")
    monkeypatch.setattr(record_sets, "finish_dataset", lambda *a, **k: (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        prepare(config, tmp_path / "work", silent)
    monkeypatch.undo()
    other = plain_corpus(tmp_path / "corpus", lines=19)
    path = tmp_path / "corpus/train.target"
    path.write_text(path.read_text().replace("cat", "cow"))
    prepare(other, tmp_path / "work", silent)
    assert "cow" in next(read_dataset(tmp_path / "work/data/train")).target_text
    prepare(other, tmp_path / "fresh", silent)
    assert contents(tmp_path / "work") == contents(tmp_path / "fresh")


def test_other_options_need_another_workdir(tmp_path):
    config = plain_corpus(tmp_path / "corpus")
    prepare(config, tmp_path / "work", silent)
    data = dataclasses.replace(config.data, buckets=(16, 30))
    with pytest.raises(UserError, match="max_length was 40 and is 30"):
        prepare(dataclasses.replace(config, data=data), tmp_path / "work", silent)
    (tmp_path / "work/data/valid/MANIFEST.json").unlink()
    with pytest.raises(UserError, match="options under vocab have changed"):
        prepare(dataclasses.replace(config, vocab=VocabConfig(size=330)), tmp_path / "work", silent)


def test_a_damaged_shard_of_a_finished_split_is_told_not_mended(tmp_path):
    config = plain_corpus(tmp_path / "corpus")
    prepare(config, tmp_path / "work", silent)
    shard = sorted((tmp_path / "work/data/train").glob("part-*"))[2]
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x00")
    with pytest.raises(UserError, match=f"{shard.name}.*changed or damaged"):
        prepare(config, tmp_path / "work", silent)


def test_overlap_of_training_and_evaluation_is_counted(tmp_path):
    train = [("Der  HUND bellt", "The dog barks"), ("eine Katze", "a cat"), ("\x01", "dropped pair")]
    test = [("der hund bellt", "the dog BARKS"), ("eine Katze", "one cat"), ("neu", "a  cat")]
    test += [("a cat", "neu"), ("\x01", "dropped pair")]
    summary = prepare(write_corpus(tmp_path / "corpus", train, test=test), tmp_path / "work", silent)
    assert summary["train"]["overlap"]["test"] == {"rows": 5, "pair": 1, "source": 2, "target": 2}
    assert summary["train"]["overlap"]["valid"] == {"rows": 1, "pair": 0, "source": 0, "target": 0}


def test_overlap_with_nothing_seen_is_nothing():
    overlap = Overlap({"test": [TextPair(0, "a", "b"), TextPair(1, "a", "c")]})
    nothing = overlap.seen_rows()
    assert joined_report([nothing]) == {"test": {"rows": 2, "pair": 0, "source": 0, "target": 0}}
    overlap.see([("a", "c")])
    found = {"test": {"rows": 2, "pair": 1, "source": 2, "target": 1}}
    assert joined_report([overlap.seen_rows()]) == joined_report([nothing, overlap.seen_rows()]) == found


@pytest.mark.parametrize("train", [[("", "x"), ("a\x00", "b")], [("lang " * 60, "long")] * 3])
def test_no_training_rows_left_is_told_with_the_counts(tmp_path, train):
    config = write_corpus(tmp_path / "corpus", train)
    with pytest.raises(
        UserError, match=r"no training row is left of (2|3) lines \(dropped: .*(over_long 3|empty_line 1)"
    ):
        prepare(config, tmp_path / "work", silent)
    assert not (tmp_path / "work/data/train/MANIFEST.json").exists()


def test_train_rows_limits_the_lines(tmp_path):
    config = plain_corpus(tmp_path / "corpus")
    data = dataclasses.replace(config.data, train_rows=5)
    summary = prepare(dataclasses.replace(config, data=data), tmp_path / "work", silent)
    assert (summary["train"]["rows_in"], summary["valid"]["rows_in"]) == (5, 1)


def test_the_generated_task_can_be_prepared(tmp_path):
    data = DataConfig(kind="modes", options=ModesOptions(train_rows=40, eval_rows=5))
    config = Config(data=data, vocab=VocabConfig(size=200, model="word"))
    summary = prepare(config, tmp_path, silent)
    assert summary["train"]["rows_out"] == 40
    assert summary["vocabulary"]["size"] <= 4 + 24 + 48
    with pytest.raises(UserError, match="seed was 1 and is 2"):
        prepare(dataclasses.replace(config, seed=2), tmp_path, silent)
