"""The corpus: the sentence pairs of a split, from the task that data.kind names.

The table of tasks is in config/tasks.py. The tasks `demo` (the bundled corpus) and `text` (files) are here,
`tfds` and `modes` in files of their names.
"""

import dataclasses
import importlib.resources
import itertools
import os
from collections.abc import Callable, Iterator

from etils import epath

from emnat_jax.config import TASKS, DataConfig
from emnat_jax.data.compressed import is_rereadable
from emnat_jax.data.text import TextPair, read_pairs
from emnat_jax.errors import UserError, require

SPLITS = ("train", "valid", "test")

_DEMO_LANGUAGES = ("de", "en")


@dataclasses.dataclass(frozen=True)
class Corpus:
    """The pairs of a split, read one at a time, and again each time it is iterated."""

    split: str
    read: Callable[[], Iterator[TextPair]]

    def __iter__(self) -> Iterator[TextPair]:
        return self.read()


def open_split(config: DataConfig, split: str, seed: int = 0) -> Corpus:
    """The pairs of `split` (train, valid or test), in the order of the corpus.

    Of the train split only the first data.train_rows. `seed` is for tasks that generate their pairs.
    UserError now where files, options or languages are missing; while iterating where a line cannot be read.
    """
    read = TASKS[config.kind].open(config, split, seed)
    if split == "train" and config.train_rows is not None:
        return Corpus(split, lambda: itertools.islice(read(), config.train_rows))
    return Corpus(split, read)


def open_demo(config: DataConfig, split: str, seed: int) -> Callable[[], Iterator[TextPair]]:
    """A function that reads the pairs of a split of the bundled corpus. UserError for other languages."""
    languages = (config.source_language, config.target_language)
    if sorted(languages) != sorted(_DEMO_LANGUAGES):
        raise UserError(
            f"data.source_language={languages[0]}, data.target_language={languages[1]}: "
            "the bundled corpus (data.kind=demo) has de and en; for other languages use data.kind=text."
        )
    folder = importlib.resources.files("emnat_jax.data") / "demo"
    source, target = (folder / f"{split}.{language}.gz" for language in languages)
    return lambda: read_pairs(source, target)


def open_text(config: DataConfig, split: str, seed: int) -> Callable[[], Iterator[TextPair]]:
    """A function that reads the pairs of a split from two text files. UserError where one is missing."""
    source, target = (find_file(config, f"{split}_{side}") for side in ("source", "target"))
    return lambda: read_pairs(source, target)


def find_file(config: DataConfig, option: str) -> epath.Path:
    """The file that `data.<option>` names; UserError where it is not set or not there."""
    value = getattr(config, option)
    if value is None:
        raise UserError(
            f"data.{option} is not set; data.kind=text needs a file for each side of every split."
        )
    places = _candidates(value, config.root, os.environ.get("EMNAT_DATA"))
    for place in places:
        if place.is_dir():
            raise UserError(f"data.{option}={value}: {place} is a folder; name a file.")
        if place.exists():
            require(
                is_rereadable(place),
                f"data.{option}={value}: this is a pipe or a device, and the corpus is read more than once; "
                "name a regular file.",
            )
            return place
    tried = ", ".join(str(place) for place in places)
    relative = not epath.Path(value).is_absolute()
    hint = " Set data.root or the environment variable EMNAT_DATA to the folder of your corpora."
    unset = config.root is None and "EMNAT_DATA" not in os.environ
    raise UserError(
        f"data.{option}={value}: no such file (tried {tried}).{hint if relative and unset else ''}"
    )


def _candidates(value: str, root: str | None, fallback: str | None) -> list[epath.Path]:
    """Where a file may lie, first choice first."""
    path = epath.Path(value).expanduser()
    if path.is_absolute():
        return [path]
    if root is not None:
        return [epath.Path(root).expanduser() / path]
    places = [path]
    if fallback is not None:
        # EMNAT_DATA may be the folder of all corpora, or the folder of this one.
        places += [epath.Path(fallback) / path, epath.Path(fallback).joinpath(*path.parts[1:])]
    return places
