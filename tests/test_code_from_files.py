"""What SECURITY.md promises: files that the program reads are data; only configurations are run."""

import ast

import pytest

from tests.test_layers import FILES, ROOT, imports

RUNS_CODE = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib", "yaml", "runpy"}
CALLS = {"eval", "exec", "exec_module", "execfile", "system", "popen"}
CONFIGURATIONS = ("cli/configuration.py", "config/convert.py")  # what loads them


def runs_code(tree: ast.AST) -> list[str]:
    """What in a file could run the content of another one."""
    found = [name for name in imports(tree) if name.split(".")[0] in RUNS_CODE]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            options = {(word.arg, ast.unparse(word.value)) for word in node.keywords}
            found += [name] if name in CALLS else []
            found += [f"{name}({key}=True)" for key, value in options & UNSAFE]
    return found


UNSAFE = {("shell", "True"), ("allow_pickle", "True")}


def test_only_configurations_are_run():
    found = {str(path.relative_to(ROOT)): runs_code(ast.parse(path.read_text())) for path in FILES}
    assert {name: what for name, what in found.items() if what} == {
        name: ["exec_module"] for name in CONFIGURATIONS
    }


@pytest.mark.parametrize("line", ["import pickle", "eval(text)", "run(a, shell=True)", "os.system(a)"])
def test_what_runs_code_is_found(line):
    assert runs_code(ast.parse(line))
