"""Sentence pairs of a split: bundled demo, text files, tensorflow-datasets, or generated."""

import dataclasses
import gzip
import importlib.resources
import itertools
import os
import zlib
from collections.abc import Callable, Iterator

from etils import epath

from emnat_jax.config import TASKS, DataConfig
from emnat_jax.data.pair import Pair
from emnat_jax.errors import UserError

SPLITS = ("train", "valid", "test")

_DEMO_LANGUAGES = ("de", "en")
_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_MAX_LINE_BYTES = 1 << 24  # a file without line ends must not fill the memory


@dataclasses.dataclass(frozen=True)
class Corpus:
    """The pairs of a split; reads them again each time it is iterated, one at a time."""

    split: str
    read: Callable[[], Iterator[Pair]]

    def __iter__(self) -> Iterator[Pair]:
        return self.read()


def open_split(config: DataConfig, split: str, seed: int = 0) -> Corpus:
    """The pairs of `split` (train, valid or test), in the order of the corpus.

    Of the train split only the first data.train_rows. `seed` is for tasks that are generated. UserError where
    files, options or languages are missing now; where a line cannot be read, while iterating.
    """
    read = TASKS[config.kind].open(config, split, seed)
    if split == "train" and config.train_rows is not None:
        return Corpus(split, lambda: itertools.islice(read(), config.train_rows))
    return Corpus(split, read)


def open_demo(config: DataConfig, split: str, seed: int) -> Callable[[], Iterator[Pair]]:
    languages = (config.source_language, config.target_language)
    if sorted(languages) != sorted(_DEMO_LANGUAGES):
        raise UserError(
            f"data.source_language={languages[0]}, data.target_language={languages[1]}: "
            "the bundled corpus (data.kind=demo) has de and en; for other languages use data.kind=text."
        )
    folder = importlib.resources.files("emnat_jax.data") / "demo"
    source, target = (folder / f"{split}.{language}.gz" for language in languages)
    return lambda: _pairs(source, target)


def open_text(config: DataConfig, split: str, seed: int) -> Callable[[], Iterator[Pair]]:
    source, target = (find_file(config, f"{split}_{side}") for side in ("source", "target"))
    return lambda: _pairs(source, target)


def _pairs(source, target) -> Iterator[Pair]:
    """The lines of two files side by side; UserError where one has more lines, or there is none."""
    sides = (_lines(source), _lines(target))
    line = -1
    for line, (a, b) in enumerate(itertools.zip_longest(*sides)):
        if a is None or b is None:
            longer = line + 1 + sum(1 for side in sides for _ in side)
            counts = (line, longer) if a is None else (longer, line)
            raise UserError(
                f"{source} has {counts[0]} lines and {target} has {counts[1]}; "
                "line N of one must translate line N of the other."
            )
        yield Pair(line, a, b)
    if line < 0:
        raise UserError(f"{source} and {target} are empty; give files with one sentence a line.")


def read_text_lines(source) -> Iterator[str]:
    """Lines of a file (a path, gzipped or not) or of an open binary stream, as `kind=text` reads them.

    UserError for a missing file and for what is not UTF-8 text.
    """
    if hasattr(source, "readline"):
        for number, data in enumerate(iter(lambda: source.readline(_MAX_LINE_BYTES), b""), 1):
            yield _decode_line(data, "standard input", number)
        return
    path = epath.Path(source)
    if not path.exists() or path.is_dir():
        raise UserError(f"{path}: no such file.")
    yield from _lines(path)


def _lines(path) -> Iterator[str]:
    """Lines of a UTF-8 file, gzipped or not, cut at LF alone and without a CR before it.

    U+2028 and the like do not end a line: tools that count lines (wc, sacrebleu) do not see them.
    """
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            file = gzip.GzipFile(fileobj=raw) if zipped else raw
            for number, data in enumerate(iter(lambda: file.readline(_MAX_LINE_BYTES), b""), 1):
                yield _decode_line(data.removeprefix(_BOM) if number == 1 else data, path, number)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: the gzip file is cut off or damaged ({error}); copy it again.") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error


def _decode_line(data: bytes, path, number: int) -> str:
    if len(data) == _MAX_LINE_BYTES:
        raise UserError(f"{path}: line {number} is longer than 16 MiB; give one sentence a line.")
    try:
        return data.removesuffix(b"\n").removesuffix(b"\r").decode()
    except UnicodeDecodeError as error:
        found = f"byte {error.start + 1} is 0x{error.object[error.start]:02x}"
        raise UserError(
            f"{path}: line {number} is not UTF-8 ({found}); convert the file, e.g. with `iconv -t UTF-8`."
        ) from error


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
