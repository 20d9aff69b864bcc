"""How long files and functions may be, how many arguments they take, how deep they nest (CONTRIBUTING.md)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(path for folder in ("emnat_jax", "tests", "configs") for path in (ROOT / folder).rglob("*.py"))
FILE_LINES, FUNCTION_LINES = 300, 50
POSITIONAL = 6  # arguments; further ones are named in every call
NESTING = 3  # `if`, `for`, `while`, `with`, `try`
BLOCKS = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, FUNCTIONS))


def depth(node: ast.AST) -> int:
    """The most blocks that lie in one another inside a node, not counting those of functions in it."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*FUNCTIONS, ast.ClassDef)):
            continue
        is_elif = isinstance(node, ast.If) and node.orelse == [child]
        deepest = max(deepest, depth(child) + (isinstance(child, BLOCKS) and not is_elif))
    return deepest


def complaints(path: Path) -> Iterator[str]:
    """What is too large in a file, each with the line."""
    text = path.read_text()
    if (lines := len(text.splitlines())) > FILE_LINES:
        yield f"{path}: {lines} lines"
    if text.strip() and not path.is_relative_to(ROOT / "tests") and not ast.get_docstring(ast.parse(text)):
        yield f"{path}: no docstring"
    for function in functions(path):
        where = f"{path}:{function.lineno}: {function.name}"
        if (lines := function.end_lineno - function.lineno + 1) > FUNCTION_LINES:
            yield f"{where} has {lines} lines"
        arguments = function.args.posonlyargs + function.args.args
        if (count := sum(argument.arg not in ("self", "cls") for argument in arguments)) > POSITIONAL:
            yield f"{where} takes {count} positional arguments"
        if (deepest := depth(function)) > NESTING:
            yield f"{where} has {deepest} blocks in one another"


@each_file
def test_nothing_is_too_large(path):
    assert not list(complaints(path))
