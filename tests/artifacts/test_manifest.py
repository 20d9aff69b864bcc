import dataclasses
import hashlib
import json
import struct

import numpy as np
import pytest

from emnat_jax.artifacts.dataset import describe_shard, read_dataset
from emnat_jax.artifacts.manifest import Manifest, file_sha256, is_finished, load_manifest, write_manifest
from emnat_jax.artifacts.records import Row, shard_name, write_shard
from emnat_jax.config import VocabConfig
from emnat_jax.data.vocab_training import train_vocabulary
from emnat_jax.errors import UserError
from tests.data.rows import edit_manifest, random_rows, tokens, write_dataset

OUTSIDE = ("../victim", "/etc/passwd", "deeper/part", "a/../../b", "..\\b", "", ".", "..")


def test_a_manifest_read_is_the_manifest_written(tmp_path):
    assert not is_finished(tmp_path)
    options = {"beam": 4, "lengths": (1, 2), "text": "ü"}
    written = write_dataset(
        tmp_path, random_rows(10), shards=3, rows_in=12, dropped={"empty": 2}, options=options
    )
    assert is_finished(tmp_path)
    assert load_manifest(tmp_path, expect={"vocabulary": "v"}) == written
    assert (written.rows_in, written.rows_out, written.dropped) == (12, 10, {"empty": 2})
    assert [shard["rows"] for shard in written.shards] == [4, 3, 3]
    assert [row.row for row in read_dataset(tmp_path)] == list(range(10))


def test_the_content_hash_is_that_of_ids_and_tokens_by_hand(tmp_path):
    row = Row(3, tokens(5), [tokens(6, 7)], "x", "y")
    by_hand = struct.pack("<qI I2i I3i", 3, 1, 2, 5, 1, 3, 6, 7, 1)
    manifest = write_dataset(tmp_path, [row])
    assert manifest.content_hash == hashlib.sha256(by_hand).hexdigest()


def test_the_content_hash_sees_tokens_and_order_but_not_texts_scores_or_shards(tmp_path):
    rows = random_rows(6, targets=2)
    base = write_dataset(tmp_path / "a", rows).content_hash
    assert write_dataset(tmp_path / "b", rows, shards=3).content_hash == base
    other_texts = [Row(r.row, r.source, r.targets, "", "", {"x": np.ones(2)}) for r in rows]
    assert write_dataset(tmp_path / "c", other_texts).content_hash == base
    swapped_targets = [Row(r.row, r.source, r.targets[::-1], "", "") for r in rows]
    assert write_dataset(tmp_path / "d", swapped_targets).content_hash != base
    swapped_rows = [Row(i, r.source, r.targets, "", "") for i, r in enumerate(rows[::-1])]
    assert write_dataset(tmp_path / "e", swapped_rows).content_hash != base


def test_two_runs_differ_in_the_time_alone(tmp_path):
    for name in "ab":
        prints = dict.fromkeys(("vocabulary", "model")[:: 1 if name == "a" else -1], "0")
        write_dataset(tmp_path / name, random_rows(5), shards=2, fingerprints=prints)
        edit_manifest(tmp_path / name, created="")
    assert (tmp_path / "a/MANIFEST.json").read_bytes() == (tmp_path / "b/MANIFEST.json").read_bytes()


def test_rows_that_do_not_add_up_or_ascend_are_refused(tmp_path):
    with pytest.raises(ValueError, match="add up"):
        write_dataset(tmp_path / "lost", random_rows(5), rows_in=6)
    rows = random_rows(3)
    with pytest.raises(ValueError, match="row 1 comes after row 1"):
        write_dataset(tmp_path / "doubled", [rows[0], rows[1], rows[1]], shards=3)
    assert not is_finished(tmp_path / "lost") and not is_finished(tmp_path / "doubled")


def test_rows_of_a_shard_must_ascend(tmp_path):
    path = tmp_path / shard_name(0, 1)
    write_shard(path, random_rows(3)[::-1])
    with pytest.raises(ValueError, match="row 1 comes after row 2"):
        describe_shard(path)


def test_an_unfinished_folder_is_refused(tmp_path):
    write_shard(tmp_path / shard_name(0, 1), random_rows(2))
    with pytest.raises(UserError, match="is unfinished, or neither a data set nor a model"):
        load_manifest(tmp_path)
    with pytest.raises(UserError, match="nowhere does not exist"):
        load_manifest(tmp_path / "nowhere")


def test_another_fingerprint_is_refused_naming_both(tmp_path):
    write_dataset(tmp_path, random_rows(2))
    with pytest.raises(UserError, match="made from vocabulary v, but vocabulary w"):
        load_manifest(tmp_path, expect={"vocabulary": "w"})
    with pytest.raises(UserError, match="made from model None, but model m"):
        load_manifest(tmp_path, expect={"model": "m"})


def test_damaged_and_missing_shards_are_named(tmp_path):
    manifest = write_dataset(tmp_path, random_rows(6), shards=2)
    shard = tmp_path / shard_name(1, 2)
    good = shard.read_bytes()
    shard.write_bytes(good[:-1] + bytes([good[-1] ^ 128]))
    with pytest.raises(UserError, match="part-00001-of-00002.*changed or damaged"):
        load_manifest(tmp_path)
    assert load_manifest(tmp_path, verify_shards=False) == manifest
    shard.unlink()
    with pytest.raises(UserError, match="part-00001-of-00002.tfrecord is missing"):
        load_manifest(tmp_path)
    write_shard(shard, random_rows(2, first=3))
    with pytest.raises(UserError, match="part-00001-of-00002.tfrecord is another file than the one that its"):
        list(read_dataset(tmp_path))
    edit_manifest(
        tmp_path, shards=[*manifest.shards[:1], manifest.shards[1] | {"sha256": file_sha256(shard)}]
    )
    with pytest.raises(UserError, match="part-00001-of-00002.tfrecord has 2 rows, its manifest says 3"):
        list(read_dataset(tmp_path))


def test_wrong_row_counts_unknown_schemas_and_broken_text_are_the_users_error(tmp_path):
    write_dataset(tmp_path, random_rows(4), shards=2)
    text = (tmp_path / "MANIFEST.json").read_text()
    shards = json.loads(text)["shards"]
    for changes, message in [
        ({"rows_out": 3}, "4 rows in, 3 out"),
        ({"shards": shards[:1]}, "the shards hold another number"),
        ({"kind": "poem"}, "kind='poem' is none of"),
        ({"kind": [1]}, "kind is .1., not a text"),
        ({"surprise": 1}, "surprise is no field"),
        ({"dropped": 3}, "dropped is 3, not an object"),
        ({"dropped": {"empty": "2"}}, "dropped.empty is '2', not a whole number"),
        ({"fingerprints": {"vocabulary": 1}}, "fingerprints.vocabulary is 1, not a text"),
        ({"shards": None}, "shards is None, not a list"),
        ({"shards": [{"name": "part"}]}, r"shards.0.\.(rows|sha256) is missing"),
        ({"schema_version": 3}, "schema version 3"),
        ({"schema_version": "2"}, "does not have the fields of a manifest"),
        *(({"shards": [shards[0] | {"name": name}, shards[1]]}, "leads out of") for name in OUTSIDE),
    ]:
        edit_manifest(tmp_path, **changes)
        with pytest.raises(UserError, match=message):
            load_manifest(tmp_path)
        (tmp_path / "MANIFEST.json").write_text(text)
    load_manifest(tmp_path)
    for damaged in (text[: len(text) // 2], "", "[]", "null", "[" * 9_999):
        (tmp_path / "MANIFEST.json").write_text(damaged)
        with pytest.raises(UserError, match="damaged"):
            load_manifest(tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {"step": "4"},
        {"step": 1e999},
        {"step": None},
        {"chosen": {}},
        {"chosen": {"steps": []}},
        {"chosen": {"steps": ["2"]}},
        {"chosen": [2]},
        {"valid_loss": "low"},
    ],
)
def test_a_model_says_which_checkpoints_are_its_own(tmp_path, options):
    """Whatever its checksum says; those who read it need not look."""
    about = {"kind": "model", "content_hash": "", "rows_in": 1, "rows_out": 1, "dropped": {}, "shards": []}
    good = {"step": 4, "chosen": {"steps": [2, 4], "by": "bleu", "value": 1.0}, "valid_loss": 2.5}
    write_manifest(tmp_path, Manifest(**about, fingerprints={}, options=good, seed=1))
    assert load_manifest(tmp_path).options == good
    edit_manifest(tmp_path, options=good | options)
    with pytest.raises(UserError, match="MANIFEST.json is damaged .*(steps|valid_loss)"):
        load_manifest(tmp_path)


def test_a_vocabulary_is_called_one_and_not_damaged(tmp_path):
    """What is damaged is to be deleted, and the workdir's vocabulary is not."""
    model = train_vocabulary(["a b c d e f"] * 9, VocabConfig(size=20, model="word"))
    model.save(tmp_path / "vocab")
    with pytest.raises(UserError, match="vocab is a vocabulary, and neither a data set nor a model"):
        load_manifest(tmp_path / "vocab")


def test_no_changed_byte_of_a_manifest_goes_unnoticed(tmp_path):
    manifest = write_dataset(tmp_path, random_rows(4), shards=2, options={"norm": "pre", "step": 12})
    path, noticed = tmp_path / "MANIFEST.json", 0
    good = path.read_bytes()
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        try:
            found = load_manifest(tmp_path, verify_shards=False)
            # The date is nothing that anybody asks for, and white space is none of the values.
            assert dataclasses.replace(found, created="") == dataclasses.replace(manifest, created="")
        except UserError:
            noticed += 1
    assert noticed > 0.8 * len(good)


def test_a_manifest_of_before_needs_no_checksum(tmp_path):
    manifest = write_dataset(tmp_path, random_rows(4))
    values = json.loads((tmp_path / "MANIFEST.json").read_text()) | {"schema_version": 1}
    (tmp_path / "MANIFEST.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match="its checksum is another"):
        load_manifest(tmp_path)
    del values["checksum"]
    (tmp_path / "MANIFEST.json").write_text(json.dumps(values))
    assert load_manifest(tmp_path) == dataclasses.replace(manifest, schema_version=1)
    (tmp_path / "MANIFEST.json").write_text(json.dumps(values | {"schema_version": 2}))
    with pytest.raises(UserError, match="its checksum is another"):
        load_manifest(tmp_path)


def test_a_failed_write_leaves_the_folder_unfinished(tmp_path):
    manifest = write_dataset(tmp_path / "a", random_rows(2))
    object.__setattr__(manifest, "options", {"not json": object()})
    with pytest.raises(TypeError):
        write_manifest(tmp_path / "b", manifest)
    assert not is_finished(tmp_path / "b")
