"""The overlap of training and evaluation data."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from emnat_jax.data.text import TextPair

_SIDES = ("pair", "source", "target")


class Overlap:
    """Counts evaluation rows whose pair, source or target is among the training rows.

    Compared without regard to case and white space, by hashes of 8 bytes; memory grows with the
    evaluation data only.
    """

    def __init__(self, splits: Mapping[str, Iterable[TextPair]]):
        self._rows = {split: [_hashes(p.source, p.target) for p in pairs] for split, pairs in splits.items()}
        self._wanted = {h for rows in self._rows.values() for hashes in rows for h in hashes}
        self._seen: set[bytes] = set()

    def see(self, texts: Iterable[tuple[str, str]]) -> None:
        """Notes (source, target) training rows."""
        for source, target in texts:
            self._seen.update(h for h in _hashes(source, target) if h in self._wanted)

    def seen_rows(self) -> dict[str, dict[str, Any]]:
        """split -> its rows, and the numbers of those with a seen pair, source or target, as JSON."""
        return {
            split: {
                "rows": len(rows),
                **{
                    side: [number for number, row in enumerate(rows) if row[i] in self._seen]
                    for i, side in enumerate(_SIDES)
                },
            }
            for split, rows in self._rows.items()
        }


def joined_report(parts: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, int]]:
    """split -> its rows, and how many of them any part of the training rows has (`Overlap.seen_rows`)."""
    return {
        split: {
            "rows": found["rows"],
            **{side: len(set().union(*(part[split][side] for part in parts))) for side in _SIDES},
        }
        for split, found in parts[0].items()
    }


def _hashes(source: str, target: str) -> tuple[bytes, bytes, bytes]:
    """Of pair, source and target; a side's name goes in, so that equal texts of two sides differ."""
    source, target = (" ".join(text.casefold().split()) for text in (source, target))
    # No normal text holds the line feed.
    texts = zip(_SIDES, (f"{source}\n{target}", source, target), strict=True)
    of_pair, of_source, of_target = (
        hashlib.blake2b(text.encode(), digest_size=8, person=side.encode()).digest() for side, text in texts
    )
    return of_pair, of_source, of_target
