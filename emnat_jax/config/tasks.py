"""The table of tasks (`data.kind`): where the sentence pairs come from, and the options of each.

The functions of the built-in tasks are in data/corpora.py, data/tfds.py and data/modes.py. A config file adds
a task of its own by one line before it returns its configuration:

    TASKS["mine"] = TaskSpec(open_split, MyOptions)
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from emnat_jax.config.checks import check
from emnat_jax.config.deferred import deferred


@dataclasses.dataclass(frozen=True)
class ModesOptions:
    """The generated multi-modal task (`data.kind=modes`)."""

    modes: int = 4  # valid translations of a sentence: synonym styles x 2 word orders
    words: int = 24  # different source words
    min_length: int = 3  # words in a sentence
    max_length: int = 6
    train_rows: int = 4_000
    eval_rows: int = 300

    def __post_init__(self) -> None:
        check(
            self.modes == 1 or (self.modes >= 2 and self.modes % 2 == 0),
            lambda at: f"{at}modes={self.modes}: use 1 or an even number (styles x 2 word orders).",
        )
        check(
            1 <= self.min_length <= self.max_length,
            lambda at: (
                f"{at}min_length={self.min_length} must be from 1 to {at}max_length={self.max_length}."
            ),
        )
        check(
            self.words >= max(2, self.max_length),
            lambda at: f"{at}words={self.words}: use at least {at}max_length={self.max_length}.",
        )


class TaskSpec(NamedTuple):
    """A line of the table."""

    # (DataConfig, split, seed) -> a function that yields the split's pairs (data.text.TextPair) anew.
    open: Callable[..., Callable[[], Iterator[Any]]]
    options: type | None = None  # frozen dataclass of its own options; they stand under data.NAME
    # (source lines, output lines, its options) -> share of outputs that are right; None where it cannot tell.
    share_valid: Callable[[Sequence[str], Sequence[str], Any], float] | None = None
    is_seeded: bool = False  # the pairs depend on the seed of the configuration
    from_files: bool = False  # a split is there where data names files for it
    train_rows: int | None = None  # lines of the train split that are used where data.train_rows is not set
    # (DataConfig, split) -> names of the parts of a split, one after another, and the lines of each; quicker
    # than to read them. None: they are read.
    parts: Callable[..., Sequence[tuple[str, int]]] | None = None
    # (DataConfig, split, data.readers.Readers) -> a function that reads ranges of lines, so that each of
    # several processes reads a part (`data.corpora.Ranges`). None: each reads all, and keeps its own lines.
    ranges: Callable[..., Any] | None = None


TASKS: dict[str, TaskSpec] = {
    "demo": TaskSpec(deferred("emnat_jax.data.corpora", "open_demo"), train_rows=32_000),
    "text": TaskSpec(
        deferred("emnat_jax.data.text_files", "open_split"),
        from_files=True,
        parts=deferred("emnat_jax.data.text_files", "count_lines"),
        ranges=deferred("emnat_jax.data.shared_text", "open_ranges"),
    ),
    "tfds": TaskSpec(
        deferred("emnat_jax.data.tfds", "open_split"), parts=deferred("emnat_jax.data.tfds", "count_lines")
    ),
    "modes": TaskSpec(
        deferred("emnat_jax.data.modes", "open_split"),
        ModesOptions,
        deferred("emnat_jax.data.modes", "share_valid"),
        is_seeded=True,
    ),
}
