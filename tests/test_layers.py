"""Imports point one way (STYLE): each room may use the rooms before it and none after."""

import ast
from pathlib import Path

import pytest

import emnat_jax

ROOT = Path(emnat_jax.__file__).parent
FLOORS = (  # rooms of one floor do not know each other
    {"__init__", "errors"},
    {"types", "config"},
    {"models", "losses", "decoding", "evaluation", "report"},
    {"families", "artifacts", "runtime"},
    {"data", "training"},
    {"inference"},
    {"export", "estep"},
    {"em"},
    {"sweep", "profiling"},
    {"cli"},
    {"__main__"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# The package's own __init__ names what is public and loads it on use: everything may know its version.
FILES = sorted(ROOT.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_rooms(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "emnat_jax":
                yield parts[1] if len(parts) > 1 and parts[1] in FLOOR_OF else "__init__"


@pytest.mark.parametrize("path", [path for path in FILES if path != ROOT / "__init__.py"],
                         ids=lambda path: str(path.relative_to(ROOT)))  # fmt: skip
def test_imports_point_down(path):
    here = room_of(path)
    for room in imported_rooms(path):
        assert room == here or FLOOR_OF[room] < FLOOR_OF[here], (
            f"{path.relative_to(ROOT)} ({here}) imports {room}"
        )


def test_every_room_has_a_floor():
    assert {room_of(path) for path in FILES} <= set(FLOOR_OF)


@pytest.mark.parametrize("library, owner", [("orbax", "training/checkpoint.py")])
def test_one_file_owns_a_library(library, owner):
    users = [
        str(p.relative_to(ROOT))
        for p in FILES
        if f"import {library}" in p.read_text() or f"from {library}" in p.read_text()
    ]
    assert users == [owner]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short_and_documented(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"
