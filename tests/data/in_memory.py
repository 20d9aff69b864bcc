"""Training batches made of a data set in memory: what those that are read from records must be equal to."""

import numpy as np

from emnat_jax.data.batches import bucket_rows
from emnat_jax.data.pairs import Pair, Pairs


class InMemory:
    """Pairs as a source of a stream: so many neighbours are an example."""

    def __init__(self, pairs: Pairs, pairs_each: int = 1):
        self._pairs, self.pairs_each = pairs, pairs_each
        self.count = pairs.size // pairs_each

    def lengths(self):
        longest = np.maximum(self._pairs.source_lengths, self._pairs.target_lengths)
        yield from np.array_split(longest.reshape(-1, self.pairs_each).max(axis=1), 3)

    def read(self, index):
        each = self.pairs_each
        return [[pair_of(self._pairs, i) for i in range(each * one, each * one + each)] for one in index]


def pair_of(pairs: Pairs, i: int) -> Pair:
    source, target = (
        tokens[offsets[i] : offsets[i + 1]].astype(np.int32)
        for tokens, offsets in (
            (pairs.source_tokens, pairs.source_offsets),
            (pairs.target_tokens, pairs.target_offsets),
        )
    )
    return Pair(int(pairs.row[i]), source, target, float(pairs.weight[i]))


def planned(pairs: Pairs, data, seed: int, epoch: int, pairs_each: int = 1) -> list[tuple[int, np.ndarray]]:
    """(width, numbers of the examples, -1 for fillers) of every batch of an epoch."""
    longest = np.maximum(pairs.source_lengths, pairs.target_lengths).reshape(-1, pairs_each).max(axis=1)
    bucket = np.searchsorted(data.buckets, longest)
    rng, batches = np.random.default_rng((seed, epoch)), []
    for number, width in enumerate(data.buckets):
        rows = bucket_rows(width * pairs_each, data.batch_tokens, data.row_multiple)
        group = rng.permutation(np.flatnonzero(bucket == number))
        padding = np.full(-len(group) % rows, -1)
        batches += [(width, index) for index in np.concatenate([group, padding]).reshape(-1, rows)]
    return [batches[i] for i in rng.permutation(len(batches))]
