"""A finished workdir to look at, and a vocabulary of three words."""

import shutil

import pytest

from tests.em.runs import finished_run


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A workdir after all rounds."""
    directory = tmp_path_factory.mktemp("api") / "run"
    shutil.copytree(finished_run(tmp_path_factory), directory)
    return directory
