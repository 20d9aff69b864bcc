"""Lines of text as sequences of tokens, and back."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from emnat_jax.artifacts.records import Row
from emnat_jax.data.pairs import Pairs, make_pairs
from emnat_jax.data.vocab import Vocabulary
from emnat_jax.errors import UserError
from emnat_jax.inference.candidates import Candidates
from emnat_jax.tokens import EOS


def as_lines(name: str, lines: object) -> list[str]:
    """The lines as a list, whatever gives them one by one: a generator, an open file, a column of a table.

    UserError, which calls them `name`, for what gives no lines of text, e.g. a single one.
    """
    if isinstance(lines, str | bytes):
        raise UserError(f"{name}={lines[:40]!r} is a single line; give a list of lines, e.g. [line].")
    if isinstance(lines, Mapping) or not isinstance(lines, Iterable):
        raise UserError(f"{name} is of type {type(lines).__name__}; give a list of lines.")
    found = list(lines)
    for index, line in enumerate(found):
        if not isinstance(line, str):
            raise UserError(f"{name}[{index}] is of type {type(line).__name__}; give lines of text (str).")
        _require_characters(f"{name}[{index}]", line)
    return found


def _require_characters(name: str, line: str) -> None:
    """UserError for half of a pair of surrogates, which no vocabulary knows and no file can hold."""
    try:
        line.encode()
    except UnicodeEncodeError as error:
        half = line[error.start]
        raise UserError(
            f"{name} has at {error.start} half of a pair of surrogates, {half!a}, which is no character; was "
            "it read with errors='surrogateescape'? Read it as UTF-8, or leave that out."
        ) from error


def sentence_pairs(sources: Sequence[np.ndarray], targets: Sequence[np.ndarray] | None = None) -> Pairs:
    """A data set in memory of token sequences with EOS; without targets each is an empty sentence."""
    empty = np.array([EOS], np.int32)
    rows = (
        Row(index, source, [empty if targets is None else targets[index]], "", "")
        for index, source in enumerate(sources)
    )
    return make_pairs(rows)


def best_text(candidates: Candidates, vocabulary: Vocabulary) -> str:
    """The best candidate as text; an empty line where there is none."""
    return vocabulary.decode(candidates.tokens[0]) if candidates.tokens else ""
