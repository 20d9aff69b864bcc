"""Lines that are blank, and test sentences with several references each."""

import gzip
import io

import pytest

from emnat_jax.data.text import is_blank, read_multi_references
from emnat_jax.errors import UserError

LINES = "one\teins\tein\ntwo\tzwei\nthree\tdrei\tDrei\tdreie\n"


def test_sets_have_none_where_a_line_has_fewer(tmp_path):
    (tmp_path / "refs.tsv.gz").write_bytes(gzip.compress(LINES.encode()))
    for source in (tmp_path / "refs.tsv.gz", io.BytesIO(LINES.encode())):
        sources, sets = read_multi_references(source)
        assert sources == ["one", "two", "three"]
        assert sets == [["eins", "zwei", "drei"], ["ein", None, "Drei"], [None, None, "dreie"]]


@pytest.mark.parametrize(
    "line",
    [
        "",
        " \t",
        "\u00a0\u3000",
        "\u200b",
        "\ufeff",
        "\u2060\u00ad",
        "\u200e \u200f",
        "\u202b\u202c",
        "\x00\x1f",
    ]
    + [
        "\u2028",
        "\u200d",
        "\u200c",
        "\u061c",
        "\u2066\u2069",
        "\u180e",
        "\u034f",
        "\ufe0f",
        "\u3164",
        "\u2800",
    ],
    ids=ascii,
)
def test_nothing_visible_is_blank(line):
    assert is_blank(line) and not is_blank(f"{line}.") and not is_blank(f"{line}\u4eca")


@pytest.mark.parametrize(
    "line", ["a", "\U0001f642", "\u0e01", "\u0661", "\u3002", "\u0645\u06cc\u200c\u062e", "-", "\ufffd"]
)
def test_what_is_visible_is_not_blank(line):
    assert not is_blank(line)


@pytest.mark.parametrize(
    ("text", "says"),
    [("a\tb\nc\n", ":2: give a source"), ("a\t\tb\n", ":1: give"), ("", "is empty; give lines")],
)
def test_what_is_missing_is_named(tmp_path, text, says):
    (tmp_path / "refs.tsv").write_text(text)
    with pytest.raises(UserError, match=says):
        read_multi_references(tmp_path / "refs.tsv")
