"""The lines that a vocabulary is trained on: an even sample, the same however many processes read the text.

Which lines it takes depends on their number alone, so that each process finds those among its own.
"""

import random
from collections.abc import Iterable, Iterator

import numpy as np
from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.atomic import atomic_file
from emnat_jax.artifacts.folders import entries
from emnat_jax.data.corpora import Corpus
from emnat_jax.data.scan import Reading, Scan

MAX_LINES = 2_000_000  # more do not change the pieces, but their memory grows with them
_BLOCK = 1 << 20
_FILES = ".sample-*"  # in the folder of the sets, while they are in use


def sampled(total: int, count: int) -> np.ndarray:
    """i64[min(total, count)]: the lines of `total` that are taken, in the order in which they are used.

    Each is as likely (reservoir sampling, Vitter 1985, algorithm R): line i takes the place of another one,
    drawn from 0 to i, if that is less than `count`. All of them where there are no more.
    """
    kept = np.arange(min(total, count), dtype=np.int64)
    draw = _uniform()
    for begin in range(len(kept), total, _BLOCK):
        lines = np.arange(begin, min(begin + _BLOCK, total), dtype=np.int64)
        places = (draw.random_sample(len(lines)) * (lines + 1)).astype(np.int64)
        taken = places < count
        kept[places[taken]] = lines[taken]  # of two for one place the later one
    return kept


def _uniform() -> np.random.RandomState:
    """The numbers that Python's own generator draws."""
    _, state, _ = random.Random(0).getstate()
    found = np.random.RandomState()
    found.set_state(("MT19937", np.array(state[:-1], np.uint32), state[-1], 0, 0.0))
    return found


def sample_part(corpus: Corpus, found: Scan, reading: Reading) -> Iterator[tuple[int, str]]:
    """Those lines of the sample that this process reads, each with its place in it.

    The sample is of the usable pairs of a split, of each pair the source and then the target.
    """
    chunks = sorted(found.usable_of)
    ends = 2 * np.cumsum([found.usable_of[chunk] for chunk in chunks])
    end_of = dict(zip(chunks, ends.tolist(), strict=True))
    taken = sampled(int(ends[-1]), MAX_LINES)
    order = np.argsort(taken)
    taken = taken[order]
    for chunk, pairs in corpus.chunks(reading.size, reading.readers):
        texts = [text for p in pairs if found.reason(p) is None for text in (p.source, p.target)]
        begin = end_of[chunk] - len(texts)
        first, last = np.searchsorted(taken, (begin, end_of[chunk]))
        for place in range(first, last):
            yield int(order[place]), texts[taken[place] - begin]


def collect_sample(parts: Iterable[tuple[int, str]], found: Scan) -> list[str]:
    """The whole sample of a split, in its order."""
    lines = [""] * min(2 * found.usable, MAX_LINES)
    for place, text in parts:
        lines[place] = text
    return lines


def write_sample_part(workdir: epath.Path, index: int, part: Iterable[tuple[int, str]]) -> None:
    """Hands a part to the process that trains the vocabulary: by a file, as it may have hundreds of MB."""
    with atomic_file(_file(workdir, index)) as file:
        for place, text in part:
            file.write(f"{place}\t{text}\n".encode())


def read_sample_parts(workdir: epath.Path, count: int) -> Iterator[tuple[int, str]]:
    """The parts of `count` processes."""
    for index in range(count):
        with _file(workdir, index).open("rb") as file:
            for line in file:
                place, _, text = line.removesuffix(b"\n").partition(b"\t")
                yield int(place), text.decode()


def forget_sample_parts(workdir: epath.Path) -> None:
    """Deletes the files of parts, also those of a run over more processes that was killed."""
    for pattern in (_FILES, f".{_FILES}"):  # the latter while they are written
        for path in entries(workdir / paths.DATA, pattern):
            path.unlink()


def _file(workdir: epath.Path, index: int) -> epath.Path:
    return workdir / paths.DATA / _FILES.replace("*", str(index))
