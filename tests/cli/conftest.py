"""A finished workdir for the commands."""

import shutil

import pytest

from tests.em.runs import finished_run


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("cli") / "run"
    shutil.copytree(finished_run(tmp_path_factory), directory)
    return directory
