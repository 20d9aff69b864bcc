"""A data set in memory: flat arrays of the tokens of all pairs."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from etils import epath

from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.artifacts.records import Row
from emnat_jax.tokens import NEG_INF, is_impossible

_CHUNK_ROWS = 65_536


class Pair(NamedTuple):
    """A source with one target."""

    row: int  # line of the corpus
    source: np.ndarray  # i32[S], EOS included
    target: np.ndarray  # i32[T], EOS included
    weight: float  # in a training loss


class Pairs(NamedTuple):
    """A data set in memory. Tokens of row i: source_tokens[source_offsets[i] : source_offsets[i + 1]]."""

    row: np.ndarray  # i64[n]; line of the corpus
    source_tokens: np.ndarray  # u16 or i32, all sequences one after the other, EOS included
    source_offsets: np.ndarray  # i64[n + 1]
    target_tokens: np.ndarray
    target_offsets: np.ndarray
    weight: np.ndarray  # f32[n]; of the pair in a training loss

    @property
    def size(self) -> int:
        """Rows. (`len` of a named tuple is its number of fields.)"""
        return len(self.row)

    @property
    def source_lengths(self) -> np.ndarray:
        """i64[n]: tokens, EOS included."""
        return np.diff(self.source_offsets)

    @property
    def target_lengths(self) -> np.ndarray:
        """i64[n]: tokens, EOS included."""
        return np.diff(self.target_offsets)


def numbered(pairs: Pairs) -> Pairs:
    """The pairs, with their places in the set as row numbers.

    A line of the corpus may have several pairs; these numbers tell them apart when results come back by row.
    """
    return pairs._replace(row=np.arange(pairs.size))


def load_pairs(directory: epath.PathLike) -> Pairs:
    """Sources and their first targets of a finished data set, verified."""
    return make_pairs(read_dataset(directory))


def make_pairs(rows: Iterable[Row]) -> Pairs:
    """The rows as flat arrays; a row with the column `weight` gives a pair for each of its targets.

    IndexError for a row without targets.
    """
    chunks, chunk = [], []
    for entry in itertools.chain.from_iterable(map(pairs_of, rows)):
        chunk.append(entry)
        if len(chunk) == _CHUNK_ROWS:
            chunks.append(_flat(chunk))
            chunk = []
    ids, sources, source_lengths, targets, target_lengths, weights = map(
        np.concatenate, zip(*chunks, _flat(chunk), strict=True)
    )
    return Pairs(ids, sources, _offsets(source_lengths), targets, _offsets(target_lengths), weights)


def make_groups(rows: Iterable[Row], count: int, beta: float = 0.0) -> Pairs:
    """The first `count` targets of each row as neighbouring pairs, with weights that sum to 1 for each row.

    The weights are proportional to the column `weight`; without it to p_teacher^beta, where there is a
    column teacher_log_prob or teacher0_log_prob (a reference, which has no score, gets the largest weight of
    the others); else equal. A row with fewer targets repeats its first one with weight 0.
    """
    return make_pairs(group_of(row, count, beta) for row in rows)


def group_of(row: Row, count: int, beta: float) -> Row:
    """The row with `count` targets and their weights, as `make_groups` has them."""
    present = min(count, len(row.targets))
    prior = _prior(row, beta)[:present]
    weight = np.concatenate([prior / max(prior.sum(), 1e-30), np.zeros(count - present)])
    targets = row.targets[:present] + [row.targets[0]] * (count - present)
    return dataclasses.replace(row, targets=targets, scores={"weight": weight})


def _prior(row: Row, beta: float) -> np.ndarray:
    """The weight of each target before it is normalised."""
    if "weight" in row.scores:
        return row.scores["weight"]
    columns = [row.scores[name] for name in ("teacher_log_prob", "teacher0_log_prob") if name in row.scores]
    log_prob = np.asarray(columns[0] if columns else np.zeros(len(row.targets)), np.float64)
    scored = ~is_impossible(log_prob)
    best = log_prob[scored].max(initial=NEG_INF)
    return np.where(scored, np.exp(beta * (log_prob - best)), 1.0)


def pairs_of(row: Row) -> Iterator[Pair]:
    """The pairs of a row: its first target or, with the column `weight`, all of them."""
    if "weight" not in row.scores:
        yield Pair(row.row, row.source, row.targets[0], 1.0)
        return
    for target, weight in zip(row.targets, row.scores["weight"], strict=True):
        yield Pair(row.row, row.source, target, float(weight))


def _flat(chunk: Sequence[tuple]) -> tuple[np.ndarray, ...]:
    """Row numbers, tokens and lengths of each side, weights. Chunks keep the peak of memory low."""
    columns = [np.array([entry[0] for entry in chunk], np.int64)]
    for side in (1, 2):
        tokens = np.concatenate([np.zeros(0, np.int32), *(entry[side] for entry in chunk)])
        narrow = tokens.max(initial=0) <= np.iinfo(np.uint16).max
        columns.append(tokens.astype(np.uint16 if narrow else np.int32))
        columns.append(np.array([len(entry[side]) for entry in chunk], np.int64))
    columns.append(np.array([entry[3] for entry in chunk], np.float32))
    return tuple(columns)


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
