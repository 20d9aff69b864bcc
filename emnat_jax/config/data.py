"""Options of the corpus, the vocabulary and the batches."""

import dataclasses
import re
from typing import Any, TypeAlias

from emnat_jax.config.checks import check, one_of, positive
from emnat_jax.config.groups import chosen_options, named_by
from emnat_jax.config.tasks import TASKS

Files: TypeAlias = str | tuple[str, ...]  # names of files, in order; in a text a comma stands between them

FILE_SPLITS = ("train", "valid", "test")  # each has text of its own where files are named for it
SENTINELS = ("<pad>", "</s>", "<unk>", "<s>")  # as SentencePiece writes the special ids


def file_names(value: Files) -> tuple[str, ...]:
    """The names that an option holds."""
    return tuple(value.split(",")) if isinstance(value, str) else value


@dataclasses.dataclass(frozen=True)
class VocabConfig:
    """The joint SentencePiece vocabulary."""

    # A finished one in place of a new one: a SentencePiece model, a workdir, or the folder vocab of one.
    path: str | None = None
    size: int = 4_000  # pieces, specials included; fewer where the text supports no more
    model: str = "bpe"  # bpe, unigram, word or char
    character_coverage: float = 1.0  # share of the text's characters, 0.98 to 1, that get a piece
    byte_fallback: bool = True  # spell unseen characters in bytes instead of UNK
    # Ends of words that are one piece each where the text has them (bpe and unigram). Of two pieces, a
    # parallel model mixes the halves of what has two forms: "Where iss" from "Where is" and "Where's".
    contractions: tuple[str, ...] = ("'s", "'t", "'m", "'re", "'ll", "'ve", "'d")
    # Control tags such as <2de>: each is one piece wherever it stands, and nothing else makes that piece.
    user_symbols: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        one_of("model", self.model, ("bpe", "unigram", "word", "char"))
        check(self.size > 8, lambda at: f"{at}size={self.size}: use more than 8.")
        check(
            0.98 <= self.character_coverage <= 1,
            lambda at: f"{at}character_coverage={self.character_coverage}: use a number from 0.98 to 1.",
        )
        self._check_symbols()
        if self.path is not None:
            self._check_only_path()

    def _check_symbols(self) -> None:
        for name in ("contractions", "user_symbols"):
            _check_symbols(name, getattr(self, name))
        check(
            not self.user_symbols or self.model != "word",
            lambda at: f"{at}user_symbols: {at}model=word takes whole words; use bpe, unigram or char.",
        )

    def _check_only_path(self) -> None:
        """A finished vocabulary was trained with options of its own."""
        defaults = {field.name: field.default for field in dataclasses.fields(self) if field.name != "path"}
        changed = {name: default for name, default in defaults.items() if getattr(self, name) != default}
        check(
            not changed,
            lambda at: (
                f"{at}path={self.path} names a finished vocabulary, which "
                f"{', '.join(at + name for name in changed)} cannot change; leave out what you set "
                f"({', '.join(f'{at}{name}={default}' for name, default in changed.items())})."
            ),
        )


def _check_symbols(name: str, symbols: tuple[str, ...]) -> None:
    """Of an option whose values become pieces as they are."""
    example = {"contractions": "'s", "user_symbols": "<2de>"}[name]
    for symbol in symbols:
        _check_symbol(name, symbol, example)
    check(len(set(symbols)) == len(symbols), lambda at: f"{at}{name}={symbols}: name each of them once.")


def _check_symbol(name: str, symbol: str, example: str) -> None:
    check(
        re.search(r"[\s\u2581\x00-\x1f\x7f-\x9f]|^$", symbol) is None,
        lambda at: f"{at}{name}: {symbol!r} is empty or holds a space; use some such as {example}.",
    )
    check(
        symbol not in SENTINELS and not re.fullmatch("<0x[0-9A-F]{2}>", symbol),
        lambda at: f"{at}{name}: {symbol!r} is a piece of every vocabulary; choose another.",
    )


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where the text comes from and how it is cut into batches."""

    kind: str = "demo"  # demo, text, tfds, modes; a key of TASKS
    # Those of the task, where it has any; None: its defaults.
    options: Any = dataclasses.field(default=None, metadata=named_by("kind", lambda: TASKS))
    source_language: str = "de"
    target_language: str = "en"
    root: str | None = None  # where relative paths start; None: the current folder, then EMNAT_DATA
    # kind=text: files of one sentence a line, packed or not; of several, one is read after another.
    train_source: Files | None = None
    train_target: Files | None = None
    train_tsv: Files | None = None  # in place of both: files with lines of source, TAB, target
    valid_source: Files | None = None  # neither these nor valid_tsv: cut off the training text (valid_rows)
    valid_target: Files | None = None
    valid_tsv: Files | None = None
    test_source: Files | None = None  # neither these nor test_tsv: there is no test split
    test_target: Files | None = None
    test_tsv: Files | None = None
    # Sentences that are held out of the training text to be the valid split, where that has no text of its
    # own; None: 1,000, of a small corpus a tenth.
    valid_rows: int | None = None
    # Any kind: files of further sources without translations, for distillation alone.
    mono_source: Files | None = None
    test_multi: str | None = None  # any kind: lines of source, TAB, its references, TAB between them
    tfds: str | None = None  # kind=tfds: a data set's name, e.g. wmt14_translate/de-en
    tfds_dir: str | None = None  # where tensorflow-datasets keeps its files
    train_rows: int | None = None  # use the first lines only; None: all, of the demo the first 32,000
    buckets: tuple[int, ...] = (10, 14, 24)  # widths in tokens, EOS included; longer rows are dropped
    batch_tokens: int = 1_056  # rows x width of a training batch, padding counted
    # Rows of a batch are a multiple of this; any number of devices that divides it gives the same batches.
    row_multiple: int = 8
    # Rows of a decoding or scoring batch on each device; None: as many as fit its memory, at most 256 (on a
    # CPU 32).
    decode_rows: int | None = None
    rows_per_shard: int = 16_384  # lines of the corpus to one record file

    def __post_init__(self) -> None:
        chosen_options("kind", self.kind, self.options, TASKS)
        increasing = all(a < b for a, b in zip((1, *self.buckets), self.buckets))
        check(
            bool(self.buckets) and increasing,
            lambda at: f"{at}buckets={self.buckets}: give increasing widths of at least 2 tokens.",
        )
        counts = ("batch_tokens", "row_multiple", "decode_rows", "rows_per_shard", "train_rows", "valid_rows")
        positive(self, *counts)
        for split in FILE_SPLITS:
            self._check_sides(split)
        check(
            self.valid_rows is None or self.holds_out_valid,
            lambda at: (
                f"{at}valid_rows={self.valid_rows} cuts a valid split off the training text of kind=text, "
                "and there is one; leave it out, or leave out the valid files."
            ),
        )

    def _check_sides(self, split: str) -> None:
        sides = [f"{split}_{side}" for side in ("source", "target") if getattr(self, f"{split}_{side}")]
        tsv = f"{split}_tsv"
        check(
            not sides or getattr(self, tsv) is None,
            lambda at: f"{at}{tsv} names both sides of the text, and so does {at}{sides[0]}; set one.",
        )

    @property
    def task_options(self) -> Any:
        """The options of the task, its defaults where none are given; None for a task that has none."""
        return chosen_options("kind", self.kind, self.options, TASKS)

    @property
    def first_lines(self) -> int | None:
        """How many lines of the train split are used, from the first on; None: all."""
        return TASKS[self.kind].train_rows if self.train_rows is None else self.train_rows

    def has_text(self, split: str) -> bool:
        """Whether a split (train, valid or test) has text of its own; of kind=text, where files are named."""
        if not TASKS[self.kind].from_files:
            return True
        return any(getattr(self, f"{split}_{part}") is not None for part in ("source", "target", "tsv"))

    @property
    def holds_out_valid(self) -> bool:
        """Whether the valid split is cut off the training text."""
        return not self.has_text("valid")

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of a workdir with this corpus."""
        return FILE_SPLITS if self.has_text("test") else FILE_SPLITS[:-1]

    @property
    def max_length(self) -> int:
        """Longest sequence in tokens, EOS included."""
        return self.buckets[-1]
