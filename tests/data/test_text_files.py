"""Own text: all of its lines, from several files, with both sides in one file, and what is wrong with it."""

import bz2
import gzip
import lzma
import zlib

import pytest

from emnat_jax.cli.configuration import read_config
from emnat_jax.config import DataConfig
from emnat_jax.config.convert import from_dict, to_dict
from emnat_jax.data import text_files
from emnat_jax.data.corpora import open_mono, open_split
from emnat_jax.data.scan import scan
from emnat_jax.data.text import read_text_lines
from emnat_jax.data.text_files import count_file
from emnat_jax.errors import UserError


def write(folder, **files: str | bytes) -> None:
    """Files by name; `_` stands for the point before the ending."""
    for name, text in files.items():
        data = text if isinstance(text, bytes) else text.encode()
        (folder / name.replace("_", ".")).write_bytes(data)


def config(folder, **options) -> DataConfig:
    return DataConfig(kind="text", root=str(folder), **options)


def pairs(data: DataConfig, split: str = "train") -> list[tuple[int, str, str]]:
    return [(pair.line, pair.source, pair.target) for pair in open_split(data, split)]


@pytest.mark.parametrize("names", ["a.de,b.de|a.en,b.en", ("a.de", "b.de", "a.en", "b.en")])
def test_files_of_a_side_are_read_one_after_another(tmp_path, names):
    write(tmp_path, a_de="eins\nzwei\n", b_de=gzip.compress(b"drei\n"), a_en="one\ntwo\n", b_en="three")
    sides = names.split("|") if isinstance(names, str) else (names[:2], names[2:])
    data = config(tmp_path, train_source=sides[0], train_target=sides[1])
    assert pairs(data) == [(0, "eins", "one"), (1, "zwei", "two"), (2, "drei", "three")]
    corpus = open_split(data, "train")
    assert corpus.count_lines() == 3
    named = corpus.name_lines([0, 2])
    assert named == f"{tmp_path / 'a.de'}:1, {tmp_path / 'b.de'}:1"


def test_each_pair_of_files_must_have_as_many_lines(tmp_path):
    """In sum they do: a check of the whole would find nothing."""
    write(tmp_path, a_de="1\n2\n", b_de="3\n", a_en="1\n", b_en="2\n3\n")
    data = config(tmp_path, train_source="a.de,b.de", train_target="a.en,b.en")
    for read in (pairs, lambda data: open_split(data, "train").count_lines()):
        with pytest.raises(UserError, match=r"a\.de has 2 lines and .*a\.en has 1;"):
            read(data)


def test_each_file_needs_its_translation(tmp_path):
    write(tmp_path, a_de="1\n", b_de="3\n", a_en="1\n")
    with pytest.raises(UserError, match="train_source names 2 files and data.train_target 1"):
        pairs(config(tmp_path, train_source="a.de,b.de", train_target="a.en"))


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_both_sides_may_stand_in_one_file(tmp_path, split):
    write(tmp_path, a_tsv="eins\tone\n\tempty\r\n", b_tsv=gzip.compress("zwei\u2028\ttwo\n".encode()))
    data = config(tmp_path, **{f"{split}_tsv": ("a.tsv", "b.tsv")})
    assert pairs(data, split) == [(0, "eins", "one"), (1, "", "empty"), (2, "zwei\u2028", "two")]
    assert open_split(data, split).count_lines() == 3


@pytest.mark.parametrize("line, advice", [("only one", "mend the line"), ("a\tb\t0.93", "cut -f1,2")])
def test_other_columns_are_an_error_with_the_line(tmp_path, line, advice):
    write(tmp_path, a_tsv=f"a\tb\n{line}\n")
    with pytest.raises(UserError, match=rf"a\.tsv:2: columns: \d; .*{advice}"):
        pairs(config(tmp_path, train_tsv="a.tsv"))
    write(tmp_path, a_tsv="")
    with pytest.raises(UserError, match=r"a\.tsv is empty"):
        pairs(config(tmp_path, train_tsv="a.tsv"))


def test_both_ways_to_name_a_split_are_not_mixed():
    with pytest.raises(UserError, match=r"^data\.valid_tsv names both sides .* data\.valid_source"):
        read_config(["--config.data.valid_tsv=a", "--config.data.valid_source=b"])


def test_lists_on_the_command_line_and_names_with_a_comma(tmp_path):
    write(tmp_path, a_tsv="a\tb\n")
    (tmp_path / "x,y.tsv").write_text("c\td\n")
    root, kind = f"--config.data.root={tmp_path}", "--config.data.kind=text"
    both = read_config([root, kind, "--config.data.train_tsv=('a.tsv', 'x,y.tsv')"])
    assert [pair[1] for pair in pairs(both.data)] == ["a", "c"]
    assert from_dict(to_dict(both)) == both
    wrong = read_config([root, kind, "--config.data.train_tsv=x,y.tsv"])
    with pytest.raises(UserError, match=r"train_tsv=x: no such file .*is given as \('x,y\.tsv',\)") as caught:
        pairs(wrong.data)
    advised = str(caught.value).rsplit("given as ", 1)[1].removesuffix(".")
    assert pairs(read_config([root, kind, f"--config.data.train_tsv={advised}"]).data) == [(0, "c", "d")]


@pytest.mark.parametrize("first", [None, 2, 4, 5, 9])
def test_sides_of_other_length_are_an_error_with_any_number_of_first_lines(tmp_path, first):
    write(tmp_path, a_de="x\n" * 5, a_en="y\n" * 4)
    data = config(tmp_path, train_source="a.de", train_target="a.en", train_rows=first)
    with pytest.raises(UserError, match=r"a\.de has 5 lines and .*a\.en has 4;"):
        scan(open_split(data, "train"), "train")


@pytest.mark.parametrize("text", ["", "a", "a\n", "a\nb", "a\n\n", "a\u2028b\r\n\x85c\n", "BZh is text\nb\n"])
def test_lines_are_counted_as_they_are_read(tmp_path, text, monkeypatch):
    monkeypatch.setattr(text_files, "_BLOCK_BYTES", 2)
    (tmp_path / "a").write_bytes(text.encode())
    assert count_file(tmp_path / "a") == len(list(read_text_lines(tmp_path / "a")))


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zlib.compress])
@pytest.mark.parametrize("text", [b"", b"x\n" * 7])
def test_no_packed_file_is_taken_for_text(pack, text):
    assert not text_files._is_text(pack(text)) and text_files._is_text(text)


def test_lines_of_a_packed_file_are_counted_unpacked(tmp_path):
    (tmp_path / "a").write_bytes(gzip.compress(b"x\n" * 7))
    assert count_file(tmp_path / "a") == 7


def test_sources_without_translations(tmp_path):
    write(tmp_path, m_de="eins\n", n_de="zwei\n")
    corpus = open_mono(config(tmp_path, mono_source="m.de,n.de"))
    assert [(pair.line, pair.source, pair.target) for pair in corpus] == [(0, "eins", ""), (1, "zwei", "")]


def test_a_demo_takes_its_first_lines_and_own_text_all():
    assert (DataConfig().first_lines, DataConfig(kind="text").first_lines) == (32_000, None)
    assert DataConfig(train_rows=7).first_lines == DataConfig(kind="text", train_rows=7).first_lines == 7
    assert sum(1 for _ in open_split(DataConfig(), "train")) == 32_000
