"""What a training learns from, as a table of places: made from the indexes of sets, no record is parsed.

An example is a pair or, for an E-step inside the loss, a row with several targets. The order is that of the
rows, as `records.overlay` gives them. Everything goes by in arrays of bounded length.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from emnat_jax.artifacts.record_index import Block
from emnat_jax.data.folds import Fold
from emnat_jax.errors import require
from emnat_jax.runtime.progress import Log

EXAMPLE = np.dtype(
    [
        ("row", "<i8"),  # line of the corpus
        ("offset", "<u8"),  # of its record, in bytes
        ("size", "<u4"),  # of its record, in bytes
        ("shard", "<u4"),
        ("target", "<u4"),  # which of the row's targets; 0 where the example has several
        ("longest", "<u4"),  # tokens of its longest sentence, EOS included
    ]
)


def examples_of(block: Block, shard: int, targets: int) -> np.ndarray:
    """EXAMPLE[n] of a block of rows, as `make_pairs` or, for `targets` > 1, `make_groups` has them.

    IndexError for a row without targets.
    """
    entries, counts = block.entries, block.entries["targets"].astype(np.int64)
    if not counts.all():
        raise IndexError(f"row {entries['row'][np.argmin(counts)]} has no target")
    first = np.cumsum(counts) - counts
    if targets > 1:
        rows, target = np.arange(len(entries)), np.zeros(len(entries), np.int64)
        longest = _longest_of(block.target_lengths, counts, targets)
    else:
        each = np.where(entries["weighted"], counts, 1)
        rows = np.repeat(np.arange(len(entries)), each)
        target = np.arange(len(rows)) - np.repeat(np.cumsum(each) - each, each)
        longest = block.target_lengths[first[rows] + target]
    found = np.empty(len(rows), EXAMPLE)
    for name in ("row", "offset", "size"):
        found[name] = entries[name][rows]
    found["shard"], found["target"] = shard, target
    found["longest"] = np.maximum(longest, entries["source"][rows])
    return found


def _longest_of(lengths: np.ndarray, counts: np.ndarray, targets: int) -> np.ndarray:
    """Of each row the longest among its first so many targets."""
    first = np.cumsum(counts) - counts
    place = np.arange(len(lengths)) - np.repeat(first, counts)
    return np.maximum.reduceat(np.where(place < targets, lengths, 0), first) if len(first) else lengths


def overlaid(*sets: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The examples of several sets by ascending row; of those with the same row, those of the first set.

    Each set ascends, and no two of its arrays have examples of the same row.
    """
    streams = [iter(one) for one in sets]
    held = [np.empty(0, EXAMPLE) for _ in streams]
    while True:
        held = [_next_filled(part, stream) for part, stream in zip(held, streams, strict=True)]
        last = [part["row"][-1] for part in held if len(part)]
        if not last:
            return
        # All that is still to come has greater rows than this.
        ends = [np.searchsorted(part["row"], min(last), "right") for part in held]
        yield _first_sets([part[:end] for part, end in zip(held, ends, strict=True)])
        held = [part[end:] for part, end in zip(held, ends, strict=True)]


def _next_filled(part: np.ndarray, stream: Iterator[np.ndarray]) -> np.ndarray:
    """What is left of a set's last array or, of none, its next one that is not empty."""
    while not len(part):
        following = next(stream, None)
        if following is None:
            break
        part = following
    return part


def _first_sets(parts: Sequence[np.ndarray]) -> np.ndarray:
    joined, of_set = np.concatenate(parts), np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    order = np.argsort(joined["row"], kind="stable")  # of the same row, the first set's come first
    joined, of_set = joined[order], of_set[order]
    begins = _begins(joined["row"])
    counts = np.diff(np.append(np.flatnonzero(begins), len(joined)))
    return joined[of_set == np.repeat(of_set[begins], counts)]


def _begins(rows: np.ndarray) -> np.ndarray:
    """Where another row begins than the one before."""
    return np.diff(rows, prepend=rows[:1] - 1) != 0


def without(parts: Iterable[np.ndarray], fold: Fold, log: Log) -> Iterator[np.ndarray]:
    """The examples that are not in the fold; `log` says in the end how many rows are.

    UserError in the end where the fold holds none of them or all.
    """
    kept = left_out = 0
    for part in parts:
        in_fold = fold.has(part["row"])
        begins = _begins(part["row"])
        left_out += int(np.sum(begins & in_fold))
        kept += int(np.sum(begins & ~in_fold))
        yield part[~in_fold]
    require(
        kept > 0 and left_out > 0,
        f"em.folds={fold.count}: {left_out} of {kept + left_out} rows to learn from are in fold "
        f"{fold.index}; some must be, and some outside it: use fewer folds, or a larger corpus.",
    )
    log(f"{left_out} rows, fold {fold.index} of {fold.count}, are left out")
