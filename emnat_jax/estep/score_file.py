"""Scores of many shards, kept in a file: a constraint looks at all of them tens of times."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import BinaryIO

import numpy as np

from emnat_jax.estep.scores import Scores

_COLUMN = "columns."


class ScoreFile(Mapping[str, Scores]):
    """Scores by the name of their shard; those that are asked for are read, and none are kept in memory.

    `file` is this process's own and without a name, so that nobody else can have written to it.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self._begins: dict[str, int] = {}

    def add(self, name: str, scores: Scores) -> None:
        """Writes the scores of a shard: name, type and shape of its arrays in a line, then the arrays."""
        found = {field: value for field, value in scores._asdict().items() if value is not None}
        found |= {f"{_COLUMN}{column}": value for column, value in found.pop("columns").items()}
        arrays = {field: np.asarray(value) for field, value in found.items()}
        about = [(field, array.dtype.str, array.shape) for field, array in arrays.items()]
        self._begins[name] = self._file.seek(0, 2)
        self._file.write(json.dumps(about).encode() + b"\n")
        for array in arrays.values():
            self._file.write(array.tobytes())

    def __getitem__(self, name: str) -> Scores:
        self._file.seek(self._begins[name])
        arrays, columns = dict[str, np.ndarray](), dict[str, np.ndarray]()
        for field, dtype, shape in json.loads(self._file.readline()):
            size = np.dtype(dtype).itemsize * math.prod(shape)
            into = columns if field.startswith(_COLUMN) else arrays
            into[field.removeprefix(_COLUMN)] = np.frombuffer(self._file.read(size), dtype).reshape(shape)
        return Scores(**arrays, columns=columns)

    def __iter__(self) -> Iterator[str]:
        return iter(self._begins)

    def __len__(self) -> int:
        return len(self._begins)
