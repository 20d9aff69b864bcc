"""Lines as tokens with EOS, pairs of text as rows of records, and the pieces that they take."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from emnat_jax.artifacts.records import Row
from emnat_jax.data.text import TextPair, is_blank
from emnat_jax.data.vocab import Vocabulary
from emnat_jax.tokens import EOS

_EOS = np.array([EOS], np.int32)


def train_rows(pairs: list[TextPair], vocabulary: Vocabulary, max_length: int, first_row: int) -> list[Row]:
    """The rows of at most `max_length` tokens a side; their numbers are the lines from `first_row` on."""
    rows = (row for row in encode(pairs, vocabulary) if length_of(row) <= max_length)
    return [dataclasses.replace(row, row=first_row + row.row) for row in rows]


def encode(pairs: list[TextPair], vocabulary: Vocabulary) -> list[Row]:
    """The rows of the pairs, whatever their length."""
    sources, targets = (
        encode_lines(side, vocabulary)
        for side in ([pair.source for pair in pairs], [pair.target for pair in pairs])
    )
    return [
        Row(pair.line, source, [target], pair.source, pair.target)
        for pair, source, target in zip(pairs, sources, targets, strict=True)
    ]


def encode_lines(
    lines: Sequence[str], vocabulary: Vocabulary, max_length: int | None = None
) -> list[np.ndarray]:
    """Tokens and EOS of each line, i32[S], cut to `max_length` of them where that is given.

    A line of which nothing is visible has EOS alone.
    """
    seen = ["" if is_blank(line) else line for line in lines]
    encoded = (np.concatenate((tokens, _EOS)) for tokens in vocabulary.encode(seen))
    return [tokens if max_length is None else shortened(tokens, max_length) for tokens in encoded]


def shortened(tokens: np.ndarray, max_length: int) -> np.ndarray:
    """At most `max_length` of a line's tokens, the last of them EOS."""
    return tokens if len(tokens) <= max_length else np.concatenate((tokens[: max_length - 1], _EOS))


def length_of(row: Row) -> int:
    """Tokens of the longer side."""
    return max(len(row.source), len(row.targets[0]))


def cut(row: Row, max_length: int) -> Row:
    """The row with at most max_length tokens a side, the last of them EOS; its texts stay whole."""
    source, target = (shortened(tokens, max_length) for tokens in (row.source, row.targets[0]))
    return dataclasses.replace(row, source=source, targets=[target])


class PieceCounts:
    """How many pieces a set has, and how many of them stand for unknown text or for a byte."""

    def __init__(self, vocabulary: Vocabulary):
        self._is_unknown, self._is_byte = vocabulary.spelled()
        self._counts = np.zeros(vocabulary.size, np.int64)

    def see(self, rows: list[Row]) -> None:
        """Counts the pieces of rows, EOS left out."""
        sides = [tokens[:-1] for row in rows for tokens in (row.source, *row.targets)]
        if sides:
            self._counts += np.bincount(np.concatenate(sides), minlength=len(self._counts))

    def counts(self) -> dict[str, int]:
        """Of all pieces, of those for unknown text, of those for a byte."""
        unknown, of_byte = (int(self._counts[kind].sum()) for kind in (self._is_unknown, self._is_byte))
        return {"all": int(self._counts.sum()), "unknown": unknown, "bytes": of_byte}
