"""Scores of many shards, kept in a file: a constraint looks at all of them tens of times."""

import pickle
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from emnat_jax.estep.scores import Scores


class ScoreFile(Mapping[str, Scores]):
    """Scores by the name of their shard; those that are asked for are read, and none are kept in memory.

    `file` is this process's own and without a name, so that nobody else can have written to it.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self._begins: dict[str, int] = {}

    def add(self, name: str, scores: Scores) -> None:
        """Writes the scores of a shard."""
        self._begins[name] = self._file.seek(0, 2)
        pickle.dump(scores, self._file, protocol=5)

    def __getitem__(self, name: str) -> Scores:
        self._file.seek(self._begins[name])
        return pickle.load(self._file)

    def __iter__(self) -> Iterator[str]:
        return iter(self._begins)

    def __len__(self) -> int:
        return len(self._begins)
