"""A valid split that is cut off the training text."""

import collections
import hashlib
import heapq

from emnat_jax.data.text import TextPair
from emnat_jax.errors import require

_MOST = 1_000  # rows of a valid split whose size nobody chose
_SHARE = 10  # of so many training rows one, at most


class HeldOut:
    """The pairs that are held out: those of the sources with the smallest hashes.

    So they come from all over the text and are the same whatever the order of its lines. A source is compared
    without regard to case and white space. Its first pair goes to the valid split; the others are learned
    from no more than that one. Memory grows with the number of rows, not with the text.
    """

    def __init__(self, rows: int | None):
        self._rows = rows
        self._size = (rows or _MOST) + 1  # one more shows whether any source is left
        self._largest: list[int] = []  # a heap of the negative hashes
        self._pairs: dict[int, TextPair] = {}
        self._counts: collections.Counter[int] = collections.Counter()

    def see(self, pair: TextPair) -> None:
        """Notes a pair that could be learned from."""
        key = _hash(pair.source)
        if key not in self._pairs:
            if len(self._largest) < self._size:
                heapq.heappush(self._largest, -key)
            elif key < -self._largest[0]:
                self._forget(-heapq.heapreplace(self._largest, -key))
            else:
                return
            self._pairs[key] = pair
        self._counts[key] += 1

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
        return {"held_out": rows, "source_held_out": self._counts.total() - rows}

    def _forget(self, key: int) -> None:
        del self._pairs[key], self._counts[key]


def _hash(source: str) -> int:
    text = " ".join(source.casefold().split())
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, person=b"held out").digest())
