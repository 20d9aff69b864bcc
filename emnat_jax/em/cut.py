"""Which sentences of an evaluation were cut before a model saw them: those longer than data.buckets."""

from collections.abc import Sequence

import numpy as np

from emnat_jax.data.vocab import Vocabulary
from emnat_jax.report.record import Cut

SHOWN = 3  # line numbers


def find_cut(
    split: str, lines: Sequence[tuple[int, str, np.ndarray]], vocabulary: Vocabulary, limit: int
) -> Cut | None:
    """Of the lines (0-based number, text, tokens with EOS as a model gets them); None where all are whole."""
    full = [(number, text) for number, text, tokens in lines if len(tokens) == limit]
    whole = vocabulary.encode([text for _, text in full])
    cut = [number + 1 for (number, _), tokens in zip(full, whole, strict=True) if len(tokens) + 1 > limit]
    return Cut(split, len(cut), len(cut) / len(lines), limit, tuple(cut[:SHOWN])) if cut else None
