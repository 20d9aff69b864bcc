"""Options of the corpus, the vocabulary and the batches."""

import dataclasses
from typing import Any

from emnat_jax.config.checks import check, one_of, positive
from emnat_jax.config.groups import chosen_options, named_by
from emnat_jax.config.tasks import TASKS


@dataclasses.dataclass(frozen=True)
class VocabConfig:
    """The joint SentencePiece vocabulary."""

    size: int = 4_000  # pieces, specials included; fewer where the text supports no more
    model: str = "bpe"  # bpe, unigram, word or char
    character_coverage: float = 1.0
    byte_fallback: bool = True  # spell unseen characters in bytes instead of UNK

    def __post_init__(self) -> None:
        one_of("model", self.model, ("bpe", "unigram", "word", "char"))
        check(self.size > 8, lambda at: f"{at}size={self.size}: use more than 8.")


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where the text comes from and how it is cut into batches."""

    kind: str = "demo"  # demo, text, tfds, modes; a key of TASKS
    options: Any = dataclasses.field(
        default=None, metadata=named_by("kind", lambda: TASKS)
    )  # those of the task, where it has any; None: its defaults
    source_language: str = "de"
    target_language: str = "en"
    root: str | None = None  # where relative paths start; None: the current folder, then EMNAT_DATA
    train_source: str | None = None  # kind=text: files of one sentence a line, .gz or not
    train_target: str | None = None
    valid_source: str | None = None
    valid_target: str | None = None
    test_source: str | None = None
    test_target: str | None = None
    test_multi: str | None = None  # any kind: lines of source, TAB, its references, TAB between them
    tfds: str | None = None  # kind=tfds: a data set's name, e.g. wmt14_translate/de-en
    tfds_dir: str | None = None  # where tensorflow-datasets keeps its files
    train_rows: int | None = 40_000  # use the first lines only; None: all
    buckets: tuple[int, ...] = (12, 24)  # widths in tokens, EOS included; longer rows are dropped
    batch_tokens: int = 1_056  # rows x width of a training batch, padding counted
    # Rows of a batch are a multiple of this; any number of devices that divides it gives the same batches.
    row_multiple: int = 8
    # Rows of a decoding or scoring batch on each device; None: as many as fit its memory, at most 256.
    decode_rows: int | None = None
    rows_per_shard: int = 16_384  # lines of the corpus to one record file

    def __post_init__(self) -> None:
        chosen_options("kind", self.kind, self.options, TASKS)
        increasing = all(a < b for a, b in zip((1, *self.buckets), self.buckets))
        check(
            bool(self.buckets) and increasing,
            lambda at: f"{at}buckets={self.buckets}: give increasing widths of at least 2 tokens.",
        )
        positive(self, "batch_tokens", "row_multiple", "decode_rows", "rows_per_shard", "train_rows")

    def with_batch(self, batch_tokens: int | None) -> "DataConfig":
        """The same with batches of this many tokens; None changes nothing."""
        return self if batch_tokens is None else dataclasses.replace(self, batch_tokens=batch_tokens)

    @property
    def task_options(self) -> Any:
        """The options of the task, its defaults where none are given; None for a task that has none."""
        return chosen_options("kind", self.kind, self.options, TASKS)

    @property
    def max_length(self) -> int:
        """Longest sequence in tokens, EOS included."""
        return self.buckets[-1]
