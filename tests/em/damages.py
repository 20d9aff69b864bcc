"""Single damages to the files and folders of a workdir, and what the commands make of them."""

import collections
import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from emnat_jax.cli.main import main
from tests.em.kills import HANGS_SECONDS

SOURCES = ["a b", "c d e"]
WRITTEN = ("report", "tensorboard")  # folders of a workdir that commands write and none reads
_NUMBERED = re.compile("[0-9a-f]{32}|[0-9]+")


class Damage(NamedTuple):
    """One file or folder, and how it is harmed."""

    place: str  # in the workdir
    kind: str

    def do(self, directory: Path) -> None:
        """Harms the file or folder of this workdir."""
        kinds = FOLDER_KINDS if (directory / self.place).is_dir() else KINDS
        kinds[self.kind](directory / self.place)

    @property
    def sort(self) -> tuple[str, str]:
        """The same for places that differ in a number alone: another round, shard or checkpoint."""
        return _NUMBERED.sub("#", self.place), self.kind

    @property
    def may_stay(self) -> bool:
        """Whether it is in the way of making the place anew, so that a person has to take it away."""
        return self.kind in IN_THE_WAY


def _flip(share: float) -> Callable[[Path], None]:
    def flip(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[int(len(data) * share)] ^= 1
        path.write_bytes(data)

    return flip


def _zero(path: Path) -> None:
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(len(data[middle : middle + 64]))
    path.write_bytes(data)


def _swap(path: Path) -> None:
    """With the next file of the same name and another content, or folder of the same name."""
    others = sorted(other for other in _workdir_of(path).rglob(path.name) if other.is_dir() == path.is_dir())
    for other in others[others.index(path) + 1 :] + others[: others.index(path)]:
        if path.is_dir() or other.read_bytes() != path.read_bytes():
            aside = path.with_name("aside")
            path.rename(aside)
            other.rename(path)
            aside.rename(other)
            return


def _workdir_of(path: Path) -> Path:
    return next(folder for folder in path.parents if (folder / "vocab").exists())


def _delete(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """By what `make` puts there."""

    def replace(path: Path) -> None:
        _delete(path)
        make(path)

    return replace


def _linked(path: Path) -> None:
    """Moved to another place, with a link to it: as good as before."""
    elsewhere = path.parent / ".elsewhere"
    elsewhere.mkdir(exist_ok=True)
    path.rename(elsewhere / path.name)
    path.symlink_to(elsewhere / path.name)


def _unreadable(path: Path) -> None:
    path.chmod(0)  # for anybody but root


_loop = _replaced(lambda path: path.symlink_to(path.name))
KINDS: dict[str, Callable[[Path], object]] = {  # of a file
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "last_line": lambda path: path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1])),
    "longer": lambda path: path.write_bytes(path.read_bytes() + path.read_bytes()[-40:]),
    "flip": _flip(0.5),
    "flip_late": _flip(0.9),
    "zero": _zero,
    "delete": _delete,
    "swap": _swap,
    "folder": _replaced(Path.mkdir),
    "pipe": _replaced(os.mkfifo),
    "loop": _loop,
    "linked": _linked,
}
FOLDER_KINDS: dict[str, Callable[[Path], object]] = {
    "delete": _delete,
    "clear": _replaced(Path.mkdir),
    "file": _replaced(lambda path: path.write_bytes(b"x")),
    "swap": _swap,
    "loop": _loop,
    "linked": _linked,
}
IN_THE_WAY = ("folder", "file", "pipe", "loop", "unreadable")
if os.geteuid():
    KINDS["unreadable"] = FOLDER_KINDS["unreadable"] = _unreadable


def damages(directory: Path) -> list[Damage]:
    """Every kind of damage to every file and folder of a workdir.

    To those that no command reads only what is in the way of writing them anew.
    """
    found = []
    for path in sorted(directory.rglob("*")):
        place = path.relative_to(directory)
        if path.name == ".lock" or (path.is_file() and not path.stat().st_size):
            continue
        kinds = FOLDER_KINDS if path.is_dir() else KINDS
        is_written = set(WRITTEN) & set(place.parts)
        found += [Damage(str(place), kind) for kind in kinds if kind in IN_THE_WAY or not is_written]
    return found


class Answer(NamedTuple):
    """What a command did."""

    command: str
    status: int
    result: object  # without what a clock or the machine decides
    said: str  # on standard error


def answers(directory: Path) -> Iterator[Answer]:
    """Every command in turn, on one workdir."""
    source = directory.parent / "sources"
    source.write_text("".join(f"{line}\n" for line in SOURCES))
    yield answer(directory, "translate", f"--input={source}")
    yield answer(directory, "evaluate", "--json")
    yield answer(directory, "report", "--json")
    yield answer(directory, "em")


def answer(directory: Path, name: str, *extra: str) -> Answer:
    """One command."""
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    with time_limit(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([name, f"--workdir={directory}", *extra])
    out.flush()
    found: object = out.buffer.getvalue()  # type: ignore[attr-defined]
    if name in ("report", "em") and status == 0:
        found = _timeless(json.loads((directory / "report/report.json").read_text()))
    return Answer(name, status, found, err.getvalue())


@contextlib.contextmanager
def time_limit(seconds: int = HANGS_SECONDS) -> Iterator[None]:
    """TimeoutError in a command that hangs."""

    def end(*_: object) -> None:
        raise TimeoutError(f"still at it after {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _timeless(report: dict) -> dict:
    return {name: value for name, value in report.items() if name not in ("seconds", "environment")}


def used_silently(whole: Answer, found: Answer) -> bool:
    """Whether a command did as if nothing were, with another result."""
    is_told = "damaged" in found.said or "is lost" in found.said
    return found.status == 0 and found.result != whole.result and not is_told


def sample(found: list[Damage], count: int, seed: int) -> list[Damage]:
    """So many of the damages, the same for the same seed; of each sort one, before any has two."""
    shuffled, seen = random.Random(seed).sample(found, len(found)), collections.Counter[tuple[str, str]]()
    turns = []
    for damage in shuffled:
        turns.append(seen[damage.sort])
        seen[damage.sort] += 1
    ordered = sorted(zip(turns, shuffled, strict=True), key=lambda pair: pair[0])
    return [damage for _, damage in ordered[:count]]


def spoiled(directory: Path, place: Path, damage: Damage) -> Path:
    """A copy of the workdir with this damage."""
    copy = place / "run"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(directory, copy)
    damage.do(copy)
    return copy
