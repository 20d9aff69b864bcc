"""A generated translation task with a known number of equally valid translations.

A source is a sequence of different words, `s3 s17 s5`. A valid translation takes one synonym style for
the whole sentence (`a3 a17 a5` or `b3 b17 b5`) and one of two word orders (as the source, or its second
half first: `a17 a5 a3`). Style and order are free of each other and equally likely, so a sentence has
`modes` translations; a model that mixes two of them in one sentence makes an error that is_valid sees.
With modes=1 there is one style in the order of the source. Sentences of one word have one order only.
"""

import functools
import hashlib
import math
import random
from collections.abc import Callable, Iterator, Sequence

from emnat_jax.config import DataConfig, ModesOptions
from emnat_jax.data.text import TextPair
from emnat_jax.errors import UserError

_STYLES = "abcdefghijklmnopqrtuvwxyz"  # without the s of the source
_ENOUGH_SENTENCES = 200  # with fewer, a split might find no sentence of its own


def open_split(config: DataConfig, split: str, seed: int) -> Callable[[], Iterator[TextPair]]:
    """A function that generates the pairs of a split."""
    return functools.partial(generate, config.task_options, split, seed)


def generate(options: ModesOptions, split: str, seed: int) -> Iterator[TextPair]:
    """Pairs of `split` (train, valid or test); each target is one valid translation, drawn at random.

    The splits share no source, unless there are too few different sentences. The pairs are the same every
    time. Raises UserError for sentences longer than there are words.
    """
    if options.max_length > options.words:
        raise UserError(
            f"data.modes.max_length={options.max_length} is more than data.modes.words={options.words}, "
            "and a sentence has no word twice; use more words."
        )
    rng = random.Random(f"{seed}/{split}")
    rows = options.train_rows if split == "train" else options.eval_rows
    for line in range(rows):
        source = _draw_source(options, split, rng)
        target = _translation(source, rng.randrange(options.modes))
        yield TextPair(line, " ".join(source), target)


def valid_translations(source: str, options: ModesOptions) -> set[str]:
    """Every valid translation of a source of this task."""
    words = source.split()
    return {_translation(words, mode) for mode in range(options.modes)}


def mode_of(source: str, output: str, options: ModesOptions) -> int | None:
    """Which valid translation `output` is, 2 * style + order; None if it is none."""
    words, output = source.split(), " ".join(output.split())
    modes = (mode for mode in range(options.modes) if _translation(words, mode) == output)
    return next(modes, None)


def is_valid(source: str, output: str, options: ModesOptions) -> bool:
    """Whether `output` is one of the valid translations; spaces do not count."""
    return mode_of(source, output, options) is not None


def share_valid(sources: Sequence[str], outputs: Sequence[str], options: ModesOptions) -> float:
    """Share of the outputs that are valid, from 0 to 1. ValueError for none, or for unequal numbers."""
    if not sources:
        raise ValueError("share_valid of no sentences")
    pairs = zip(sources, outputs, strict=True)
    return sum(is_valid(source, output, options) for source, output in pairs) / len(sources)


def _draw_source(options: ModesOptions, split: str, rng: random.Random) -> list[str]:
    divide = _count_sentences(options) >= _ENOUGH_SENTENCES
    while True:
        length = rng.randint(options.min_length, options.max_length)
        words = [f"s{i}" for i in rng.sample(range(options.words), length)]
        if not divide or _split_of(words) == split:
            return words


def _count_sentences(options: ModesOptions) -> int:
    lengths = range(options.min_length, options.max_length + 1)
    return sum(math.perm(options.words, length) for length in lengths)


def _split_of(words: Sequence[str]) -> str:
    """The split that owns a sentence: the same for any seed and any number of rows."""
    digit = hashlib.sha256(" ".join(words).encode()).digest()[0] % 8
    return {0: "valid", 1: "test"}.get(digit, "train")


def _translation(words: Sequence[str], mode: int) -> str:
    style, order = divmod(mode, 2)
    prefix = _STYLES[style % len(_STYLES)] * (1 + style // len(_STYLES))
    half = len(words) // 2
    ordered = [*words[half:], *words[:half]] if order else words
    return " ".join(prefix + word.removeprefix("s") for word in ordered)
