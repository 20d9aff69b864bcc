"""Padded batches of a data set: shuffled for training, in order for decoding and scoring."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from emnat_jax.config import DataConfig
from emnat_jax.data.pairs import Pair, Pairs
from emnat_jax.errors import UserError
from emnat_jax.types import EOS, PAD, Batch

_FILLER = -1
_EOS = np.array([EOS], np.int32)  # all of a filler, so that its loss is never NaN
_WINDOW = 65_536  # rows that are looked at together
LocalRows = Callable[[np.ndarray], np.ndarray]  # row numbers of a global batch -> those that this host holds
_OVERFLOW_MULTIPLE = 8


def bucket_rows(width: int, batch_tokens: int, multiple: int) -> int:
    """Rows of a batch of this width: at most `batch_tokens` with padding, a multiple of `multiple`, not 0."""
    return max(multiple, batch_tokens // width // multiple * multiple)


@runtime_checkable
class Source(Protocol):
    """Numbered examples to learn from, each of `pairs_each` pairs (`data/examples.py`)."""

    @property
    def count(self) -> int:
        """How many examples there are."""

    @property
    def pairs_each(self) -> int:
        """Pairs of an example, side by side in a batch."""

    def lengths(self) -> Iterator[np.ndarray]:
        """Tokens of the longest sentence of each example, in order, some at a time."""

    def read(self, index: np.ndarray) -> list[list[Pair]]:
        """The pairs of the examples with these numbers."""


class BatchStream:
    """An endless stream of training batches, whose position can be saved.

    The batches of an epoch and their order depend on the data, data.buckets, data.batch_tokens,
    data.row_multiple, seed and epoch, and on nothing else: any number of hosts and devices draws the same
    global batches, of which each host gets, and reads, the rows that `local` picks. Each example comes once
    an epoch; those longer than the last bucket never come, `skipped` counts them. There is one shape (rows,
    width) for each bucket; the last batch of a bucket is filled up with rows of weight 0.

    An example of several pairs is that many neighbouring rows of a batch; the row counts above are then of
    such groups. In memory are 5 bytes an example (9 of more than 2^32) and 4 a batch. `vocabulary` is its
    size, where batches with other tokens are to be refused (`require_known`).
    """

    def __init__(
        self,
        source: Source,
        data: DataConfig,
        *,
        seed: int,
        local: LocalRows = lambda rows: rows,
        vocabulary: int | None = None,
    ):
        self._source, self._seed, self._local, self._vocabulary = source, seed, local, vocabulary
        self.examples: int = source.count  # those that are skipped too
        self._widths = data.buckets
        self._bucket = _bucket_of_each(source, self._widths)
        sizes = np.bincount(self._bucket, minlength=len(self._widths) + 1)
        *self._sizes, self.skipped = map(int, sizes)
        if not sum(self._sizes):
            raise UserError(
                f"none of {source.count} rows fits data.buckets={data.buckets}; use wider buckets or more "
                "data."
            )
        self._rows = [
            bucket_rows(width * source.pairs_each, data.batch_tokens, data.row_multiple)
            for width in self._widths
        ]
        batches = [-(-size // rows) for size, rows in zip(self._sizes, self._rows, strict=True)]
        self._ends = np.cumsum(batches)  # the batches of bucket b, before they are mixed, end at _ends[b]
        self.batches_per_epoch = int(self._ends[-1])
        self._epoch, self._batch = 0, 0
        self._index = np.empty(sum(self._sizes), np.min_scalar_type(source.count))
        self._order = np.empty(self.batches_per_epoch, np.min_scalar_type(self.batches_per_epoch))
        self._planned_epoch = -1

    def __iter__(self) -> "BatchStream":
        return self

    def __next__(self) -> Batch:
        """The next batch, this host's rows of it, as NumPy arrays."""
        if self._planned_epoch != self._epoch:
            self._plan(self._epoch)
        width, index = self._planned(self._batch)
        batch = self._make_batch(self._local(index), width)
        require_known(batch, self._vocabulary)
        self._move(self._epoch, self._batch + 1)
        return batch

    def state(self) -> dict[str, int]:
        """The position, the same on every host: epochs finished, batches of this epoch drawn."""
        return {"epoch": self._epoch, "batch": self._batch}

    def restore(self, state: dict[str, int]) -> None:
        """Goes to a position that `state` gave. UserError where the data have fewer batches than that."""
        if not 0 <= state["batch"] < self.batches_per_epoch:
            raise UserError(
                f"position {state} is not in an epoch of {self.batches_per_epoch} batches: the data or their "
                "batches were changed; resume with the data, data.buckets and batch_tokens (of data, or of "
                "the training) of before."
            )
        self._move(state["epoch"], state["batch"])

    def _move(self, epoch: int, batch: int) -> None:
        if batch == self.batches_per_epoch:
            epoch, batch = epoch + 1, 0
        self._epoch, self._batch = epoch, batch

    def _plan(self, epoch: int) -> None:
        """Shuffles the examples within each bucket, then all batches, in place."""
        rng, begin = np.random.default_rng((self._seed, epoch)), 0
        for bucket, size in enumerate(self._sizes):
            part = self._index[begin : begin + size]
            _write_places(self._bucket, bucket, part)
            rng.shuffle(part)
            begin += size
        self._order[:] = np.arange(self.batches_per_epoch)
        rng.shuffle(self._order)
        self._planned_epoch = epoch

    def _planned(self, batch: int) -> tuple[int, np.ndarray]:
        """The width, and the numbers of the examples (-1 for fillers), of a batch of this epoch."""
        place = int(self._order[batch])
        bucket = int(np.searchsorted(self._ends, place, "right"))
        size, rows = self._sizes[bucket], self._rows[bucket]
        first = (place - (self._ends[bucket - 1] if bucket else 0)) * rows
        begin = sum(self._sizes[:bucket])
        index = self._index[begin + first : begin + min(first + rows, size)].astype(np.int64)
        return self._widths[bucket], np.append(index, np.full(rows - len(index), _FILLER))

    def _make_batch(self, index: np.ndarray, width: int) -> Batch:
        real = index != _FILLER
        found = iter(self._source.read(index[real]))
        filler = [Pair(_FILLER, _EOS, _EOS, 0.0)] * self._source.pairs_each
        pairs = [pair for is_real in real for pair in (next(found) if is_real else filler)]
        return Batch(
            source=_stacked([pair.source for pair in pairs], width),
            target=_stacked([pair.target for pair in pairs], width),
            weight=np.array([pair.weight for pair in pairs], np.float32),
            row=np.array([pair.row for pair in pairs]).astype(np.int32),
        )


def require_known(batch: Batch, vocabulary: int | None) -> None:
    """UserError for a row with a token that a vocabulary of this size does not have; None: of any size.

    A compiled program would take another token for it, without a word.
    """
    for tokens in (batch.source, batch.target):
        if vocabulary is not None and tokens.size and not 0 <= tokens.min() <= tokens.max() < vocabulary:
            place = np.argmax(((tokens < 0) | (tokens >= vocabulary)).any(axis=-1))
            raise UserError(
                f"row {batch.row[place]} has tokens that are not in the vocabulary, of {vocabulary} pieces; "
                "the set was made with another one: make it again."
            )


def _bucket_of_each(source: Source, widths: Sequence[int]) -> np.ndarray:
    """The narrowest bucket that holds each example; len(widths) where none does."""
    found, begin = np.empty(source.count, np.min_scalar_type(len(widths))), 0
    for lengths in source.lengths():
        found[begin : begin + len(lengths)] = np.searchsorted(widths, lengths)
        begin += len(lengths)
    return found


def _write_places(values: np.ndarray, value: int, places: np.ndarray) -> None:
    """Where `values` are equal to `value`, in increasing order, without an array of 8 bytes for each."""
    end = 0
    for begin in range(0, len(values), _WINDOW):
        found = np.flatnonzero(values[begin : begin + _WINDOW] == value)
        places[end : end + len(found)] = found + begin
        end += len(found)


def _stacked(sentences: Sequence[np.ndarray], width: int) -> np.ndarray:
    """i32[len(sentences), width], padded."""
    padded = np.full((len(sentences), width), PAD, np.int32)
    for line, tokens in zip(padded, sentences, strict=True):
        line[: len(tokens)] = tokens
    return padded


def _members(groups: np.ndarray, targets_per_source: int) -> np.ndarray:
    """The pairs of each group, fillers for a filler."""
    members = groups[:, None] * targets_per_source + np.arange(targets_per_source)
    return np.where(groups[:, None] == _FILLER, _FILLER, members).reshape(-1)


def sequential_batches(
    pairs: Pairs,
    buckets: Sequence[int],
    rows: int | Callable[[int], int],
    *,
    by: str = "both",
    local: LocalRows = lambda rows: rows,
) -> Iterator[Batch]:
    """Batches with every row exactly once, narrow buckets first, shorter sources first within a bucket.

    Shapes are (rows, width), `rows` a number or a function of the width; a host gets those rows that `local`
    picks, fillers have weight 0. Rows longer than the last bucket get a bucket of their own, as wide as the
    longest. by="source": buckets by source length alone, and all targets in one width, that of the longest.
    """
    if by not in ("both", "source"):
        raise ValueError(f"by={by!r}: use 'both' or 'source'")
    lengths = pairs.source_lengths
    if by == "both":
        lengths = np.maximum(lengths, pairs.target_lengths)
    widths = _with_overflow(buckets, int(lengths.max(initial=0)))
    target_width = _round_up(int(pairs.target_lengths.max(initial=0)))
    for group, width in zip(_bucket_groups(lengths, widths), widths, strict=True):
        # A search goes on until the longest output of its batch ends: similar lengths waste least.
        group = group[np.argsort(pairs.source_lengths[group], kind="stable")]
        for index in _cut(group, rows(width) if callable(rows) else rows) if len(group) else ():
            yield _make_batch(pairs, local(index), width, width if by == "both" else target_width)


def list_batches(
    pairs: Pairs, count: int, buckets: Sequence[int], rows: Callable[[int], int]
) -> Iterator[Batch]:
    """Batches of sources with their targets side by side, every source exactly once, narrow buckets first.

    `pairs` are groups of `count` neighbours with one source (`make_groups`). Shapes are (rows, width) and
    (rows, count x width); `Batch.row` is the number of the group.
    """
    longest = np.maximum(pairs.source_lengths, pairs.target_lengths).reshape(-1, count).max(axis=1)
    widths = _with_overflow(buckets, int(longest.max(initial=0)))
    for group, width in zip(_bucket_groups(longest, widths), widths, strict=True):
        for index in _cut(group, rows(width)) if len(group) else ():
            members = _make_batch(pairs, _members(index, count), width, width)
            source, weight = members.source[::count], members.weight[::count]
            yield Batch(source, members.target.reshape(len(index), -1), weight, index.astype(np.int32))


def _bucket_groups(lengths: np.ndarray, widths: Sequence[int]) -> list[np.ndarray]:
    """Indices of the rows of every bucket; a row is in the narrowest that holds it, or in none."""
    bucket = np.searchsorted(widths, lengths)
    return [np.flatnonzero(bucket == i) for i in range(len(widths))]


def _with_overflow(widths: Sequence[int], longest: int) -> tuple[int, ...]:
    return (*widths, _round_up(longest)) if longest > widths[-1] else tuple(widths)


def _round_up(length: int) -> int:
    return -(-length // _OVERFLOW_MULTIPLE) * _OVERFLOW_MULTIPLE


def _cut(index: np.ndarray, rows: int) -> np.ndarray:
    """i64[batches, rows]: the indices in order, fillers at the end."""
    padding = np.full(-len(index) % rows, _FILLER, np.int64)
    return np.concatenate([index, padding]).reshape(-1, rows)


def _make_batch(pairs: Pairs, index: np.ndarray, source_width: int, target_width: int) -> Batch:
    real = index != _FILLER
    return Batch(
        source=_padded(pairs.source_tokens, pairs.source_offsets, index, source_width),
        target=_padded(pairs.target_tokens, pairs.target_offsets, index, target_width),
        weight=np.where(real, pairs.weight[index], 0.0).astype(np.float32),
        row=np.where(real, pairs.row[index], _FILLER).astype(np.int32),
    )


def _padded(tokens: np.ndarray, offsets: np.ndarray, index: np.ndarray, width: int) -> np.ndarray:
    """i32[len(index), width]. A filler row is EOS alone, so that its loss is never NaN."""
    real = index != _FILLER
    start = offsets[index][:, None]
    length = np.where(real, offsets[index + 1] - offsets[index], 0)[:, None]
    columns = np.arange(width)
    keep = columns < length
    padded = np.where(keep, tokens[np.where(keep, start + columns, 0)], PAD).astype(np.int32)
    padded[~real, 0] = EOS
    return padded
