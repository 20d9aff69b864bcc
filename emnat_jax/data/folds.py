"""Folds of a corpus: parts of its lines, each of which a student of its own does not learn from."""

import dataclasses

import numpy as np

from emnat_jax.artifacts.records import Row


@dataclasses.dataclass(frozen=True)
class Fold:
    """The lines of a corpus whose number, from 0, is `index` modulo `count`."""

    index: int
    count: int

    def __contains__(self, row: Row) -> bool:
        return row.row % self.count == self.index

    def has(self, rows: np.ndarray) -> np.ndarray:
        """Whether the lines of these numbers are in the fold."""
        return rows % self.count == self.index
