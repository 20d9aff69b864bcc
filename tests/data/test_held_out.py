"""A valid split that is cut off the training text, and a corpus without a test split."""

import dataclasses

import pytest

from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.artifacts.manifest import is_finished, load_manifest
from emnat_jax.config import Config, DataConfig, VocabConfig
from emnat_jax.data.held_out import HeldOut, _hash
from emnat_jax.data.prepare import prepare
from emnat_jax.data.text import TextPair
from emnat_jax.errors import UserError


def silent(_: str) -> None:
    """A log that nobody reads."""


def made_pairs(count: int, sources: int) -> list[TextPair]:
    """Pairs with this many different sources, some of which differ in case and spaces alone."""
    return [
        TextPair(i, f"der  Hund {i % sources}" if i % 3 else f"Der hund {i % sources}", f"the dog {i}")
        for i in range(count)
    ]


def held(pairs, rows):
    found = HeldOut(rows)
    for pair in pairs:
        found.see(pair)
    found.choose(len(pairs))
    return found


@pytest.mark.parametrize("count, sources, rows", [(100, 100, 10), (100, 30, 7), (60, 20, 19)])
def test_those_with_the_smallest_hashes_are_held_out_with_all_that_shares_their_source(count, sources, rows):
    pairs = made_pairs(count, sources)
    found = held(pairs, rows)
    smallest = sorted({_hash(pair.source) for pair in pairs})[:rows]
    assert [pair for pair in pairs if found.holds(pair)] == [p for p in pairs if _hash(p.source) in smallest]
    firsts = {_hash(pair.source): pair for pair in reversed(pairs)}
    assert found.pairs == sorted((firsts[key] for key in smallest), key=lambda pair: pair.line)
    gone = sum(found.holds(pair) for pair in pairs)
    assert found.dropped == {"held_out": rows, "source_held_out": gone - rows}


def test_the_choice_does_not_depend_on_the_order_and_is_not_the_head():
    pairs = made_pairs(400, 400)
    sources = {pair.source for pair in held(pairs, 20).pairs}
    assert sources == {pair.source for pair in held(pairs[::-1], 20).pairs}
    lines = [pair.line for pair in held(pairs, 20).pairs]
    assert min(lines) < 100 and max(lines) > 300  # the chance that it is otherwise is 2 x 0.75^20


def test_a_tenth_of_a_small_text_and_at_most_a_thousand_of_a_large_one():
    assert len(held(made_pairs(300, 300), None).pairs) == 30
    assert len(held(made_pairs(12_000, 12_000), None).pairs) == 1_000


@pytest.mark.parametrize("count, sources, rows", [(9, 9, None), (40, 40, 21), (400, 5, 5), (400, 1, None)])
def test_too_few_sources_are_told_with_a_number_that_works(count, sources, rows):
    pairs = made_pairs(count, sources)
    with pytest.raises(UserError, match="too few to cut a valid split off") as caught:
        held(pairs, rows)
    if sources > 1:
        advised = int(str(caught.value).split("data.valid_rows=")[-1].split(" ")[0])
        assert len(held(pairs, advised).pairs) == advised


def own_text(folder, lines: int, **options) -> Config:
    """A configuration whose text is the training text alone."""
    folder.mkdir(exist_ok=True)
    for side, word in (("source", "der Hund"), ("target", "the dog")):
        (folder / side).write_text("".join(f"{word} {i % (lines - 5)}\n" for i in range(lines)) + "\n")
    data = DataConfig(
        kind="text",
        root=str(folder),
        train_source="source",
        train_target="target",
        buckets=(16,),
        rows_per_shard=16,
        **options,
    )
    return Config(data=data, vocab=VocabConfig(size=300))


def test_no_training_source_is_in_the_valid_split_and_every_line_is_accounted_for(tmp_path):
    config = own_text(tmp_path / "corpus", 60, valid_rows=20)
    log: list[str] = []
    summary = prepare(config, tmp_path / "work", log.append)
    train, valid = (list(read_dataset(tmp_path / "work/data" / name)) for name in ("train", "valid"))
    assert len(valid) == 20
    assert not {row.source_text for row in train} & {row.source_text for row in valid}
    assert summary["train"]["overlap"]["valid"]["source"] == 0
    dropped = summary["train"]["dropped"]
    assert dropped["held_out"] == 20 and dropped["empty_line"] == 1
    assert len(train) + sum(dropped.values()) == 61
    assert sorted(row.row for row in (*train, *valid)) == sorted({row.row for row in (*train, *valid)})
    assert "prepare: valid has 20 lines" in log


def test_there_is_no_test_split_without_text_for_it(tmp_path):
    summary = prepare(own_text(tmp_path / "corpus", 40), tmp_path / "work", silent)
    assert sorted(summary) == ["train", "valid", "vocabulary"]
    assert not is_finished(tmp_path / "work/data/test")


def test_a_second_run_finds_it_and_another_size_is_another_set(tmp_path):
    config = own_text(tmp_path / "corpus", 40)
    first = prepare(config, tmp_path / "work", silent)
    assert prepare(config, tmp_path / "work", silent) == first
    other = dataclasses.replace(config, data=dataclasses.replace(config.data, valid_rows=5))
    with pytest.raises(UserError, match="valid_rows was chosen and is 5"):
        prepare(other, tmp_path / "work", silent)


def test_the_vocabulary_does_not_know_what_is_held_out(tmp_path):
    config = own_text(tmp_path / "corpus", 60, valid_rows=20)
    prepare(config, tmp_path / "work", silent)
    rows = list(read_dataset(tmp_path / "work/data/train"))
    (tmp_path / "rest").mkdir()
    for side in ("source", "target"):
        (tmp_path / "rest" / side).write_text("".join(f"{getattr(row, f'{side}_text')}\n" for row in rows))
        (tmp_path / "rest" / f"valid.{side}").write_text("x\n")
    data = dataclasses.replace(
        config.data,
        root=str(tmp_path / "rest"),
        valid_rows=None,
        valid_source="valid.source",
        valid_target="valid.target",
    )
    prepare(dataclasses.replace(config, data=data), tmp_path / "other", silent)
    one, other = (load_manifest(tmp_path / name / "data/train") for name in ("work", "other"))
    assert one.fingerprints["vocabulary"] == other.fingerprints["vocabulary"]


@pytest.mark.parametrize("options", [{}, {"kind": "text", "valid_tsv": "a"}, {"kind": "modes"}])
def test_rows_are_held_out_only_where_there_is_no_valid_text(options):
    with pytest.raises(UserError, match="^valid_rows=5 cuts a valid split off"):
        DataConfig(valid_rows=5, **options)


def test_without_training_text_its_option_is_named(tmp_path):
    with pytest.raises(UserError, match=r"data\.train_source is not set; .* data\.train_tsv"):
        prepare(Config(data=DataConfig(kind="text")), tmp_path, silent)
