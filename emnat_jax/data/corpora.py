"""The corpus: the sentence pairs of a split, from the task that data.kind names.

The table of tasks is in config/tasks.py. The task `demo` (the bundled corpus) is here, `text`, `tfds` and
`modes` in files of their own.
"""

import dataclasses
import functools
import importlib.resources
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from etils import epath

from emnat_jax.artifacts.atomic import require_store
from emnat_jax.config import TASKS, DataConfig
from emnat_jax.config.data import FILE_SPLITS, file_names
from emnat_jax.data.compressed import is_rereadable
from emnat_jax.data.readers import Readers
from emnat_jax.data.text import TextPair, read_pairs, read_text_lines
from emnat_jax.errors import UserError, require

SPLITS = FILE_SPLITS
MONO = "mono"  # beside the splits: sources without translations

Ranges: TypeAlias = Callable[[Iterable[range]], Iterator[TextPair]]  # reads ascending ranges of lines

_DEMO_LANGUAGES = ("de", "en")


@dataclasses.dataclass(frozen=True)
class Corpus:
    """The pairs of a split, read one at a time, and again each time it is iterated."""

    split: str
    read: Callable[[], Iterator[TextPair]]
    first_lines: int | None = None  # that are used; None: all
    parts: Callable[[], Sequence[tuple[str, int]]] | None = None  # their names, and the lines of each
    ranges: Ranges | None = None  # None: every process reads all pairs, and keeps its own

    def __iter__(self) -> Iterator[TextPair]:
        return itertools.islice(self.read(), self.first_lines)

    def chunks(self, size: int, readers: Readers) -> Iterator[tuple[int, list[TextPair]]]:
        """The chunks of `size` lines that this process reads, each with its number in the whole text."""
        if readers.count == 1:  # counted: the lines of a split that was cut off have the numbers of its text
            pairs = iter(self)
            yield from enumerate(iter(lambda: list(itertools.islice(pairs, size)), []))
            return
        own = readers.ranges(size, self.first_lines)
        pairs = _within(self, own) if self.ranges is None else self.ranges(own)
        for number, chunk in itertools.groupby(pairs, lambda pair: pair.line // size):
            yield number, list(chunk)

    def count_lines(self) -> int:
        """All lines that there are, used or not. UserError where the sides have different numbers."""
        if self.parts is None:
            return sum(1 for _ in self.read())
        return sum(lines for _, lines in self.parts())

    def name_lines(self, lines: Sequence[int]) -> str:
        """Where lines are, counted from 1; of a split in several parts with the name of the part."""
        parts = self.parts() if self.parts is not None else []
        if len(parts) < 2:
            return f"line{'s' if len(lines) > 1 else ''} {', '.join(str(line + 1) for line in lines)}"
        ends = list(itertools.accumulate(count for _, count in parts))
        places = []
        for line in lines:
            index = next(i for i, end in enumerate(ends) if line < end)
            name, count = parts[index]
            places.append(f"{name}:{line - ends[index] + count + 1}")
        return ", ".join(places)


def _within(pairs: Iterable[TextPair], ranges: Iterable[range]) -> Iterator[TextPair]:
    """The pairs whose lines lie in ascending ranges."""
    rest = iter(ranges)
    wanted = next(rest, None)
    for pair in pairs:
        while wanted is not None and pair.line >= wanted.stop:
            wanted = next(rest, None)
        if wanted is None:
            return
        if pair.line in wanted:
            yield pair


def open_split(config: DataConfig, split: str, seed: int = 0) -> Corpus:
    """The pairs of `split` (train, valid or test), in the order of the corpus.

    Of the train split only the first data.train_rows. `seed` is for tasks that generate their pairs.
    UserError now where files, options or languages are missing; while iterating where a line cannot be read.
    """
    task = TASKS[config.kind]
    parts = None if task.parts is None else functools.cache(functools.partial(task.parts, config, split))
    first_lines = config.first_lines if split == "train" else None
    return Corpus(split, task.open(config, split, seed), first_lines, parts)


def open_mono(config: DataConfig) -> Corpus:
    """The sources of data.mono_source, as pairs with an empty target."""
    files = find_files(config, "mono_source")

    def read() -> Iterator[TextPair]:
        lines = itertools.chain.from_iterable(map(read_text_lines, files))
        return (TextPair(number, line, "") for number, line in enumerate(lines))

    return Corpus(MONO, read)


def with_ranges(
    corpora: Mapping[str, Corpus], names: Sequence[str], config: DataConfig, readers: Readers
) -> dict[str, Corpus]:
    """The corpora, of which each of several processes reads a part where their task can.

    All processes call it together; `names` are those of the corpora that the first process has.
    """
    found = dict(corpora)
    for name in names if readers.count > 1 else ():
        open_ranges = TASKS["text" if name == MONO else config.kind].ranges
        ranges = None if open_ranges is None else open_ranges(config, name, readers)
        if name in found:
            found[name] = dataclasses.replace(found[name], ranges=ranges)
    return found


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


def find_files(config: DataConfig, option: str) -> list[epath.Path]:
    """The files that `data.<option>` names; UserError where it is not set, and for one that is not there."""
    value = getattr(config, option)
    if value is None:
        raise UserError(
            f"data.{option} is not set; data.kind=text needs a file for each side of a split, or one of "
            f"both: data.{option.split('_')[0]}_tsv."
        )
    return [_find(name, option, config) for name in file_names(value)]


def find_file(config: DataConfig, option: str) -> epath.Path:
    """The one file that `data.<option>` names; UserError as in `find_files`."""
    return _find(getattr(config, option), option, config)


def _find(name: str, option: str, config: DataConfig) -> epath.Path:
    places = _candidates(name, config.root, os.environ.get("EMNAT_DATA"))
    for place in places:
        if name and place.is_dir():
            raise UserError(f"data.{option}={name}: {place} is a folder; name a file.")
        if name and place.exists():
            require(
                is_rereadable(place),
                f"data.{option}={name}: this is a pipe or a device, and the corpus is read more than once; "
                "name a regular file.",
            )
            return place
    tried = ", ".join(str(place) for place in places)
    relative = not epath.Path(name).is_absolute()
    hint = " Set data.root or the environment variable EMNAT_DATA to the folder of your corpora."
    hint = hint if relative and config.root is None and "EMNAT_DATA" not in os.environ else ""
    whole = getattr(config, option)
    if isinstance(whole, str) and whole != name:
        hint += f" A comma stands between names; one that has a comma is given as ('{whole}',)."
    raise UserError(f"data.{option}={name}: no such file (tried {tried}).{hint}")


def _candidates(value: str, root: str | None, fallback: str | None) -> list[epath.Path]:
    """Where a file may lie, first choice first; UserError for an address that is not read."""
    require_store(value)
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
