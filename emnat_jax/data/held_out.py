"""A valid split that is cut off the training text."""

import collections
import hashlib
import heapq
import itertools
from collections.abc import Iterable
from typing import Any

from emnat_jax.data.text import TextPair
from emnat_jax.errors import require

_MOST = 1_000  # rows of a valid split whose size nobody chose
_SHARE = 10  # of so many training rows one, at most
_ELSEWHERE = "\n"  # in place of a text that another process has; no line holds it


class HeldOut:
    """The pairs that are held out: those of the sources with the smallest hashes.

    So they come from all over the text and are the same whatever the order of its lines. A source is compared
    without regard to case and white space. Its first pair goes to the valid split; the others are learned
    from no more than that one. Memory grows with the number of rows, not with the text. Several processes may
    see a part of the text each: `seen`, `join`, `choose`, `texts`, `complete`, in this order.
    """

    def __init__(self, rows: int | None):
        self._rows = rows
        self._size = (rows or _MOST) + 1  # one more shows whether any source is left
        self._largest: list[int] = []  # a heap of the negative hashes
        self._pairs: dict[int, TextPair] = {}  # by the hash of the source
        self._counts: dict[int, collections.Counter[int]] = {}  # of each hash its pairs by chunk of the text

    def see(self, pair: TextPair, chunk: int = 0) -> None:
        """Notes a pair that could be learned from, of a chunk of the text; the lines ascend."""
        key = _hash(pair.source)
        if key not in self._pairs:
            if len(self._largest) < self._size:
                heapq.heappush(self._largest, -key)
            elif key < -self._largest[0]:
                self._forget(-heapq.heapreplace(self._largest, -key))
            else:
                return
            self._pairs[key], self._counts[key] = pair, collections.Counter()
        self._counts[key][chunk] += 1

    def seen(self) -> list[Any]:
        """What was noted, but for the text, as JSON: of each source hash, first line, pairs by chunk."""
        return [[key, pair.line, list(self._counts[key].items())] for key, pair in self._pairs.items()]

    def join(self, seen: Iterable[list[Any]]) -> None:
        """Goes on with what this and all others have `seen` of their parts of one text.

        A source among the smallest of the whole is among the smallest of each part that has it, so that
        nothing of it was forgotten anywhere. Pairs of others have no text before `complete`.
        """
        lines: dict[int, int] = {}
        counts: dict[int, collections.Counter[int]] = collections.defaultdict(collections.Counter)
        for key, line, by_chunk in itertools.chain.from_iterable(seen):
            lines[key] = min(line, lines.get(key, line))
            counts[key].update(dict(by_chunk))
        kept = sorted(lines)[: self._size]
        self._pairs = {key: self._first_of(key, lines[key]) for key in kept}
        self._counts = {key: counts[key] for key in kept}

    def _first_of(self, key: int, line: int) -> TextPair:
        """The first pair of a source in the whole text; without its text where another process has it."""
        own = self._pairs.get(key)
        return own if own is not None and own.line == line else TextPair(line, _ELSEWHERE, _ELSEWHERE)

    def texts(self) -> list[Any]:
        """The pairs of which this process has the text, as JSON."""
        own = ((key, pair) for key, pair in self._pairs.items() if pair.source != _ELSEWHERE)
        return [[key, pair.line, pair.source, pair.target] for key, pair in own]

    def complete(self, texts: Iterable[list[Any]]) -> None:
        """Takes the `texts` of all processes."""
        for key, *pair in itertools.chain.from_iterable(texts):
            self._pairs[key] = TextPair(*pair)

    def choose(self, usable: int) -> None:
        """Decides, once all of `usable` pairs were seen. UserError where they are too few."""
        rows = min(_MOST, usable // _SHARE) if self._rows is None else self._rows
        most = min(usable // 2, len(self._pairs) - 1)
        asked = "" if self._rows is None else f"data.valid_rows={self._rows}: "
        advice = f", or data.valid_rows={most} at most" if most > 0 else ""
        require(
            1 <= rows <= most,
            f"{asked}{usable} usable training pairs with {len(self._pairs)} different sources are too few to "
            f"cut a valid split off; name files for it (data.valid_source, data.valid_target){advice}.",
        )
        for key in sorted(self._pairs)[rows:]:
            self._forget(key)

    def holds(self, pair: TextPair) -> bool:
        """Whether a pair's source is held out."""
        return _hash(pair.source) in self._pairs

    @property
    def pairs(self) -> list[TextPair]:
        """The valid split, in the order of the text."""
        return sorted(self._pairs.values(), key=lambda pair: pair.line)

    @property
    def dropped(self) -> dict[str, int]:
        """Training rows that go, by reason: to the valid split, and for a source that is there."""
        rows = len(self._pairs)
        return {"held_out": rows, "source_held_out": self.by_chunk().total() - rows}

    def by_chunk(self) -> collections.Counter[int]:
        """Training rows that go, by chunk of the text."""
        total: collections.Counter[int] = collections.Counter()
        for counts in self._counts.values():
            total.update(counts)
        return total

    def _forget(self, key: int) -> None:
        del self._pairs[key], self._counts[key]


def _hash(source: str) -> int:
    text = " ".join(source.casefold().split())
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, person=b"held out").digest())
