"""The first pass over a split: what is in it, what cannot be learned from, and what is held out of it."""

import collections
import dataclasses
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from emnat_jax.data.corpora import MONO, Corpus
from emnat_jax.data.held_out import HeldOut
from emnat_jax.data.readers import Readers
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
    usable_of: dict[int, int] = dataclasses.field(default_factory=dict)  # `usable` by chunk of the text
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


class Reading(NamedTuple):
    """How a text is read: the processes that do it, and the lines that each takes at a time."""

    readers: Readers = Readers()
    size: int = 16_384


def scan(
    corpus: Corpus | None, split: str, reading: Reading = Reading(), held_out: HeldOut | None = None
) -> Scan:
    """What all processes together find in a split; each reads its chunks, and the first one all of it.

    The hash of a text goes from front to back. The process that makes it reads every line, so that what it
    says of a mistake is the same for any number of processes. `held_out` gets what could be held out, and
    decides. `corpus` is None where this process has no files.

    UserError for a line that cannot be read, and for sides of different length, also behind the lines that
    are used.
    """

    def part() -> dict[str, Any]:
        assert corpus is not None
        sha256 = _sha256(corpus) if reading.readers.index == 0 and reading.readers.count > 1 else ""
        found = _scan_part(corpus, reading, held_out)
        return {**vars(found), "sha256": found.sha256 or sha256, "held_out": _seen(held_out)}

    parts = reading.readers.gather(f"prepare: lines read of {split}", part)
    found = _joined(parts, split)
    found.there = reading.readers.processes.broadcast(
        f"prepare: all lines of {split}", lambda: _lines_there(corpus, found)
    )
    if held_out is not None:
        found.held_out = held_out
        held_out.join(one["held_out"] for one in parts)
        held_out.choose(found.usable)
        held_out.complete(reading.readers.gather("prepare: held out", held_out.texts))
        found.dropped.update(held_out.dropped)
        for chunk, count in held_out.by_chunk().items():
            found.usable_of[chunk] -= count
    return found


def _scan_part(corpus: Corpus, reading: Reading, held_out: HeldOut | None) -> Scan:
    """Of the chunks of this process; with the hash of the text where they are all that there are."""
    found, digest = Scan(sides=_sides(corpus.split)), hashlib.sha256()
    is_alone = reading.readers.count == 1
    for chunk, pairs in corpus.chunks(reading.size, reading.readers):
        usable = 0
        for pair in pairs:
            if is_alone:
                digest.update(_raw(pair))
            found.respaced += any(_SPACES.search(getattr(pair, side)) for side in found.sides)
            if reason := unusable(pair, found.sides):
                found.dropped[reason] += 1
                note(found.first, reason, pair.line)
                continue
            usable += 1
            if held_out is not None:
                held_out.see(pair, chunk)
        found.lines += len(pairs)
        found.usable_of[chunk] = usable
    found.sha256 = digest.hexdigest() if is_alone else ""
    return found


def _lines_there(corpus: Corpus | None, found: Scan) -> int:
    """Of the text, used or not; UserError where the sides differ behind the lines that are used."""
    return found.lines if corpus is None or corpus.first_lines is None else corpus.count_lines()


def _raw(pair: TextPair) -> bytes:
    return f"{pair.source}\n{pair.target}\n".encode()


def _sha256(corpus: Corpus) -> str:
    digest = hashlib.sha256()
    for pair in corpus:
        digest.update(_raw(pair))
    return digest.hexdigest()


def _sides(split: str) -> tuple[str, ...]:
    return ("source",) if split == MONO else ("source", "target")


def _seen(held_out: HeldOut | None) -> list[Any]:
    return [] if held_out is None else held_out.seen()


def _joined(parts: Sequence[Mapping[str, Any]], split: str) -> Scan:
    """The scan of a whole split from those of its parts."""
    first: dict[str, list[int]] = collections.defaultdict(list)
    dropped: collections.Counter[str] = collections.Counter()
    found = Scan(sides=_sides(split), sha256=parts[0]["sha256"])
    for part in parts:
        found.lines += part["lines"]
        found.respaced += part["respaced"]
        found.usable_of.update({int(chunk): count for chunk, count in part["usable_of"].items()})
        dropped.update(part["dropped"])
        for reason, lines in part["first"].items():
            first[reason] += lines
    found.first = {reason: sorted(lines)[:SHOWN] for reason, lines in first.items()}
    # In the order in which the text has them: a message names them so.
    for reason in sorted(dropped, key=lambda name: found.first[name]):
        found.dropped[reason] = dropped[reason]
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
