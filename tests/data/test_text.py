"""Test sentences with several references each."""

import gzip
import io

import pytest

from emnat_jax.data.text import read_multi_references
from emnat_jax.errors import UserError

LINES = "one\teins\tein\ntwo\tzwei\nthree\tdrei\tDrei\tdreie\n"


def test_sets_have_none_where_a_line_has_fewer(tmp_path):
    (tmp_path / "refs.tsv.gz").write_bytes(gzip.compress(LINES.encode()))
    for source in (tmp_path / "refs.tsv.gz", io.BytesIO(LINES.encode())):
        sources, sets = read_multi_references(source)
        assert sources == ["one", "two", "three"]
        assert sets == [["eins", "zwei", "drei"], ["ein", None, "Drei"], [None, None, "dreie"]]


@pytest.mark.parametrize(
    ("text", "says"),
    [("a\tb\nc\n", ":2: give a source"), ("a\t\tb\n", ":1: give"), ("", "is empty; give lines")],
)
def test_what_is_missing_is_named(tmp_path, text, says):
    (tmp_path / "refs.tsv").write_text(text)
    with pytest.raises(UserError, match=says):
        read_multi_references(tmp_path / "refs.tsv")
