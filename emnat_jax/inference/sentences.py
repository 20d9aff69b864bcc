"""Lines of text as sequences of tokens, and back."""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from emnat_jax.artifacts.records import Row
from emnat_jax.data.pairs import Pairs, make_pairs
from emnat_jax.data.vocab import Vocabulary
from emnat_jax.errors import UserError
from emnat_jax.inference.candidates import Candidates
from emnat_jax.tokens import EOS

_SURROGATE = re.compile("[\ud800-\udfff]")


def as_lines(name: str, lines: Iterable[object]) -> list[str]:
    """The lines as a list, whatever gives them; UserError for what are none, e.g. a single one."""
    if isinstance(lines, str | bytes):
        raise UserError(f"{name}={lines[:40]!r} is a single line; give a list of lines, e.g. [line].")
    found = []
    for index, line in enumerate(lines):
        if not isinstance(line, str):
            raise UserError(f"{name}[{index}] is of type {type(line).__name__}; give lines of text (str).")
        if not line.isascii() and _SURROGATE.search(line):
            raise UserError(f"{name}[{index}] has half of a character (U+D800 to U+DFFF); give whole ones.")
        found.append(line)
    return found


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
