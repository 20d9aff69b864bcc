"""A task of one's own, in a configuration file: a translation is the source in reverse order.

emnat em --config=tests/data/outside_task.py --workdir=runs/reverse
"""

import dataclasses
import functools
import random
from collections.abc import Iterator, Sequence

from emnat_jax.config import TASKS, TaskSpec
from emnat_jax.config.convert import to_config_dict
from emnat_jax.data.text import TextPair


@dataclasses.dataclass(frozen=True)
class ReverseOptions:
    """They stand under data.reverse."""

    words: int = 8  # different ones
    length: int = 4  # words of a sentence
    train_rows: int = 120
    eval_rows: int = 24


def open_split(data, split: str, seed: int):
    """A function that yields the pairs of a split, the same ones each time."""
    return functools.partial(_pairs, data.task_options, split, seed)


def _pairs(options: ReverseOptions, split: str, seed: int) -> Iterator[TextPair]:
    rng = random.Random(f"{seed}/{split}")
    for line in range(options.train_rows if split == "train" else options.eval_rows):
        words = [f"w{rng.randrange(options.words)}" for _ in range(options.length)]
        yield TextPair(line, " ".join(words), " ".join(reversed(words)))


def share_valid(sources: Sequence[str], outputs: Sequence[str], options: ReverseOptions) -> float:
    """The share of outputs that are right; every report shows it."""
    pairs = zip(sources, outputs, strict=True)
    return sum(output.split() == source.split()[::-1] for source, output in pairs) / len(sources)


def get_config():
    TASKS["reverse"] = TaskSpec(open_split, ReverseOptions, share_valid, is_seeded=True)
    config = to_config_dict()
    config.data.kind = "reverse"
    config.vocab.model, config.vocab.size = "word", 40
    config.data.buckets = (8,)
    return config
