"""A finished run that the tests of a file may look at, and change."""

import json
import shutil

import pytest

from tests.em.runs import finished_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A workdir after all rounds, and its report."""
    directory = tmp_path_factory.mktemp("em") / "run"
    shutil.copytree(finished_run(tmp_path_factory), directory)
    return directory, json.loads((directory / "report/report.json").read_text())
