"""What `import emnat_jax` offers: from the source tree, and (slow) from an installed wheel."""

import importlib
import inspect
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import emnat_jax as em

ROOT = Path(__file__).parents[2]
CLASSES = [
    "Choice",
    "Config",
    "LongLines",
    "Report",
    "Row",
    "TrainedModel",
    "Translation",
    "Translator",
    "UserError",
    "VerifiedModel",
]
NAMESPACES = ("config", "decoding", "families", "losses", "types")
FUNCTIONS = ("load", "read_dataset", "read_report", "run")
PUBLIC = [*CLASSES, *sorted(("__version__", *NAMESPACES, *FUNCTIONS))]
LOOK = """
import json, sys, time
begin = time.perf_counter()
import emnat_jax as em
seconds = time.perf_counter() - begin
em.UserError, em.config, em.Config()
heavy = sorted({"jax", "flax", "numpy", "orbax", "tensorflow_datasets"} & set(sys.modules))
found = {name: type(getattr(em, name)).__name__ for name in em.__all__}
print(json.dumps({"file": em.__file__, "seconds": seconds, "heavy": heavy, "found": found, "dir": dir(em)}))
"""


@pytest.fixture(scope="module", params=["source", pytest.param("wheel", marks=pytest.mark.slow)])
def package(request, tmp_path_factory) -> Path:
    """The folder that holds the package emnat_jax."""
    if request.param == "source":
        return ROOT
    target = tmp_path_factory.mktemp("wheel") / "site"
    install = [
        "install",
        "--quiet",
        "--no-deps",
        "--disable-pip-version-check",
        f"--target={target}",
        str(ROOT),
    ]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True)
    return target


def run_python(package: Path, cwd: Path, *arguments: str) -> str:
    """What an interpreter prints that finds the package in `package` before any other."""
    environment = os.environ | {"PYTHONPATH": str(package)}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=cwd, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_list_is_light_and_complete(package, tmp_path):
    seen = json.loads(run_python(package, tmp_path, "-c", LOOK))
    print(f"import emnat_jax: {seen['seconds']:.3f} s")
    assert Path(seen["file"]).parent == package / "emnat_jax"
    assert seen["heavy"] == [] and seen["seconds"] < 2
    assert sorted(seen["found"]) == seen["dir"] == PUBLIC
    assert {name for name, kind in seen["found"].items() if kind == "module"} == set(NAMESPACES)


def test_the_package_has_its_data_and_its_commands(package, tmp_path):
    code = "from emnat_jax.cli.main import main; main(['--help'])"
    assert "emnat COMMAND" in run_python(package, tmp_path, "-c", code)
    code = (
        "from importlib.resources import files\n"
        "print([path.name for path in (files('emnat_jax.data') / 'demo').iterdir()])"
    )
    found = run_python(package, tmp_path, "-c", code)
    assert "ATTRIBUTION.txt" in found and ".gz" in found


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'system'"):
        em.system  # noqa: B018 - looked up for its error


def own_members(module):
    """(name, class or function) of what a module defines for others."""
    for name, value in vars(module).items():
        own = getattr(value, "__module__", None) == module.__name__
        if own and name[0] != "_" and (inspect.isclass(value) or inspect.isfunction(value)):
            yield name, value


def objects():
    """(name, object) of everything public: the list, the namespaces' modules, and what these define."""
    yield from ((name, getattr(em, name)) for name in em.__all__ if name != "__version__")
    modules = [
        importlib.import_module(f"emnat_jax.{name}.{entry.name}")
        for name in NAMESPACES
        for entry in pkgutil.iter_modules(getattr(getattr(em, name), "__path__", ()))
    ]
    for module in modules:
        yield module.__name__, module
        yield from ((f"{module.__name__}.{name}", value) for name, value in own_members(module))


def test_every_public_object_says_what_it_is():
    bare = [name for name, value in objects() if not inspect.getdoc(value)]
    assert not bare
    methods = [
        name for name in dir(em.TrainedModel) if callable(getattr(em.TrainedModel, name)) and name[0] != "_"
    ]
    assert {"translate", "n_best", "score", "alternatives"} <= set(methods)
    assert all(getattr(em.TrainedModel, name).__doc__ for name in methods)


@pytest.mark.parametrize("name", NAMESPACES)
def test_a_namespace_lists_what_it_has(name):
    namespace = getattr(em, name)
    assert namespace.__all__ and all(hasattr(namespace, member) for member in namespace.__all__)
