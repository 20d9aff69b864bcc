"""A finished workdir, and its student exported."""

import shutil

import pytest

from tests.cli.commands import run
from tests.em.runs import finished_run


@pytest.fixture(scope="package")
def workdir(tmp_path_factory):
    """A workdir after all rounds, with its last student under exports/student."""
    directory = tmp_path_factory.mktemp("export") / "run"
    shutil.copytree(finished_run(tmp_path_factory), directory)
    assert run("export", f"--workdir={directory}")[0] == 0
    return directory
