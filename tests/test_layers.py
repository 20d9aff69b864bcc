"""The rooms of the package stand on floors: each may use the floors below it and none above.

Counted are all imports: at the top of a file, inside a function, under `if TYPE_CHECKING`. A module may also
be named in a string and imported when it is called (`config/deferred.py`): that is how the tables of
configuration name functions of the floors above without importing them, and nobody else does it (`DEFERS`).
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import emnat_jax

ROOT = Path(emnat_jax.__file__).parent
FLOORS = (  # from the ground up; the rooms of one floor do not know each other
    {"__init__", "errors"},  # everything may know the version
    {"tokens"},
    {"types", "config"},
    {"models", "losses", "decoding", "evaluation", "report"},
    {"families", "artifacts", "runtime"},
    {"data", "training"},
    {"inference"},
    {"estep", "export"},
    {"em"},
    {"sweep", "profiling"},
    {"cli"},
    {"__main__"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
ANYTHING = set(FLOOR_OF)
DEFERS = {  # file -> rooms that it may name in strings, to import them on use
    "__init__.py": ANYTHING,  # the public names
    "cli/main.py": {"cli"},  # the commands
    "config/families.py": {"families", "export"},
    "config/rules.py": {"estep"},
    "config/tasks.py": {"data"},
}
TYPES_ONLY = {  # file -> rooms whose types alone it names, under `if TYPE_CHECKING`
    "__init__.py": ANYTHING,
}
FILES = sorted(ROOT.rglob("*.py"))
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def room_named(module: str) -> str | None:
    """The room that a dotted name lies in; None where it is not ours."""
    package, _, rest = module.partition(".")
    room = rest.split(".")[0]
    return None if package != "emnat_jax" else room if room in FLOOR_OF else "__init__"


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names of everything that is imported below a node."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def type_imports(tree: ast.AST) -> Iterator[str]:
    """Those under `if TYPE_CHECKING` (or `typing.TYPE_CHECKING`)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for statement in node.body:
                yield from imports(statement)


def deferred_imports(tree: ast.AST) -> Iterator[str]:
    """Strings that are the dotted name of one of our modules, or (in an f-string) begin like one."""
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and re.fullmatch(r"emnat_jax(\.\w+)+\.?", text):
            yield text


@each_file
def test_imports_point_down(path):
    name, here = str(path.relative_to(ROOT)), room_of(path)
    tree = ast.parse(path.read_text())
    only_types = set(type_imports(tree))
    for module in imports(tree):
        room = room_named(module)
        allowed = room is None or room == here or FLOOR_OF[room] < FLOOR_OF[here]
        if module in only_types:
            allowed |= room in TYPES_ONLY.get(name, ())
        assert allowed, f"{name} (floor {FLOOR_OF[here]}) imports {module} (floor {FLOOR_OF[room]})"
    for module in deferred_imports(tree):
        room = room_named(module)
        allowed = room == here or FLOOR_OF[room] < FLOOR_OF[here] or room in DEFERS.get(name, ())
        assert allowed, f"{name} (floor {FLOOR_OF[here]}) names {module} (floor {FLOOR_OF[room]})"


def test_every_room_has_a_floor():
    assert {room_of(path) for path in FILES} <= set(FLOOR_OF)
    assert len(FLOOR_OF) == sum(map(len, FLOORS)), "a room stands on two floors"


@pytest.mark.parametrize("library, owners", [("orbax", {"training/checkpoint.py", "training/restore.py"})])
def test_few_files_own_a_library(library, owners):
    users = {
        str(path.relative_to(ROOT))
        for path in FILES
        if library in {module.split(".")[0] for module in imports(ast.parse(path.read_text()))}
    }
    assert users == owners
