"""The first pass over a split: what is in it, what cannot be learned from, and what is held out of it."""

import collections
import dataclasses
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence

from emnat_jax.data.corpora import MONO, Corpus
from emnat_jax.data.held_out import HeldOut
from emnat_jax.data.text import TextPair, is_blank
from emnat_jax.data.vocab import CONTROL
from emnat_jax.runtime.progress import Log

SHOWN = 5  # line numbers of a message
_SPACES = re.compile("^ | $|  |\t")  # a vocabulary does not keep them as they are

_REMEDIES = {
    "empty_line": "give each side text, or take the line out",
    "control_character": "put spaces in place of the characters",
    "over_long": "longer than the last of data.buckets; give a wider one, in a new workdir",
}


@dataclasses.dataclass
class Scan:
    """What the first pass learns about a split."""

    lines: int = 0  # that are used
    there: int = 0  # that the text has
    sha256: str = ""  # over the raw text of all pairs
    # Rows that cannot be used in training, by reason, and the first few lines of each.
    dropped: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    first: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    respaced: int = 0  # lines with spaces at an end, several in a row, or a tab
    held_out: HeldOut | None = None
    sides: tuple[str, ...] = ("source", "target")  # that have text

    @property
    def usable(self) -> int:
        """Rows that can be learned from, if they are not too long."""
        return self.lines - self.dropped.total()

    def held_out_pairs(self) -> Iterator[TextPair]:
        """The valid split that was cut off; nothing where none was."""
        return iter(self.held_out.pairs if self.held_out is not None else ())

    def reason(self, pair: TextPair) -> str | None:
        """Why a pair of this split is not for training, whatever its length; None if it is."""
        if reason := unusable(pair, self.sides):
            return reason
        return "held_out" if self.held_out is not None and self.held_out.holds(pair) else None


def scan(corpus: Corpus, held_out: HeldOut | None = None) -> Scan:
    """Reads a split once; `held_out` gets what could be held out, and decides.

    UserError for a line that cannot be read, and for sides of different length, also behind the lines that
    are used.
    """
    found, digest = Scan(held_out=held_out), hashlib.sha256()
    if corpus.split == MONO:
        found.sides = ("source",)
    for pair in corpus:
        digest.update(f"{pair.source}\n{pair.target}\n".encode())
        found.respaced += any(_SPACES.search(getattr(pair, side)) for side in found.sides)
        if reason := unusable(pair, found.sides):
            found.dropped[reason] += 1
            note(found.first, reason, pair.line)
        elif held_out is not None:
            held_out.see(pair)
        found.lines += 1
    found.sha256 = digest.hexdigest()
    found.there = found.lines if corpus.first_lines is None else corpus.count_lines()
    if held_out is not None:
        held_out.choose(found.usable)
        found.dropped.update(held_out.dropped)
    return found


def unusable(pair: TextPair, sides: Sequence[str] = ("source", "target")) -> str | None:
    """Why a pair is not for training, whatever its length; None if it is. A tab counts as a space."""
    texts = [getattr(pair, side) for side in sides]
    if any(CONTROL.search(text.replace("\t", " ")) for text in texts):
        return "control_character"
    return "empty_line" if any(map(is_blank, texts)) else None


def note(first: dict[str, list[int]], reason: str, line: int) -> None:
    """Keeps the line among the first few of a reason."""
    if len(lines := first.setdefault(reason, [])) < SHOWN:
        lines.append(line)


def tell(log: Log, corpus: Corpus, found: Scan, counts: Mapping[str, int], what: str) -> None:
    """A line on the log for each reason: how many rows, which share, the first few, and what to do."""
    for reason, count in counts.items():
        if count and reason in _REMEDIES:
            first = found.first.get(reason, [])
            log(
                f"prepare: {corpus.split}: {count} of {found.lines} lines ({count / found.lines:.2%}) {what} "
                f"({reason}; {corpus.name_lines(first)}{', ...' if count > len(first) else ''}): "
                f"{_REMEDIES[reason]}"
            )
