"""Single damages to the files of a workdir, and what the commands make of them."""

import contextlib
import io
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from emnat_jax.cli.main import main

SOURCES = ["a b", "c d e"]
UNREAD = ("report", "tensorboard")  # folders of a workdir that no command reads


class Damage(NamedTuple):
    """One file, and how it is harmed."""

    file: str  # in the workdir
    kind: str

    def do(self, directory: Path) -> None:
        """Harms the file of this workdir."""
        KINDS[self.kind](directory / self.file)


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
    """With the next file of the same name and another content."""
    others = sorted(other for other in path.parents[_depth(path)].rglob(path.name) if other.is_file())
    for other in others[others.index(path) + 1 :] + others[: others.index(path)]:
        if other.read_bytes() != path.read_bytes():
            mine = path.read_bytes()
            path.write_bytes(other.read_bytes())
            other.write_bytes(mine)
            return


def _depth(path: Path) -> int:
    """How far above a file its workdir is."""
    return next(i for i, folder in enumerate(path.parents) if (folder / "vocab").exists())


KINDS: dict[str, Callable[[Path], None]] = {
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "flip": _flip(0.5),
    "flip_late": _flip(0.9),
    "zero": _zero,
    "delete": Path.unlink,
    "swap": _swap,
}


def damages(directory: Path) -> list[Damage]:
    """Every kind of damage to every file that a command reads."""
    files = [path.relative_to(directory) for path in sorted(directory.rglob("*")) if path.is_file()]
    read = [
        file
        for file in files
        if file.name != ".lock" and not set(UNREAD) & set(file.parts) and _size(directory / file)
    ]
    return [Damage(str(file), kind) for file in read for kind in KINDS]


def _size(path: Path) -> int:
    return path.stat().st_size


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
    for name in ("translate", "evaluate", "report", "em"):
        extra = {"translate": [f"--input={source}"], "evaluate": ["--json"], "report": ["--json"], "em": []}[
            name
        ]
        yield _answer(directory, name, extra)


def _answer(directory: Path, name: str, extra: list[str]) -> Answer:
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([name, f"--workdir={directory}", *extra])
    out.flush()
    found: object = out.buffer.getvalue()  # type: ignore[attr-defined]
    if name in ("report", "em") and status == 0:
        found = _timeless(json.loads((directory / "report/report.json").read_text()))
    return Answer(name, status, found, err.getvalue())


def _timeless(report: dict) -> dict:
    return {name: value for name, value in report.items() if name not in ("seconds", "environment")}


def used_silently(whole: Answer, found: Answer) -> bool:
    """Whether a command did as if nothing were, with another result."""
    return found.status == 0 and found.result != whole.result and "damaged" not in found.said


def sample(found: list[Damage], count: int, seed: int) -> list[Damage]:
    """So many of the damages, the same for the same seed."""
    return random.Random(seed).sample(found, min(count, len(found)))


def spoiled(directory: Path, place: Path, damage: Damage) -> Path:
    """A copy of the workdir with this damage."""
    copy = place / "run"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(directory, copy)
    damage.do(copy)
    return copy
