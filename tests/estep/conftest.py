"""A set of candidates that the tests of a file may read."""

import pytest

from tests.estep.candidates import write_candidates


@pytest.fixture(scope="module")
def candidates(tmp_path_factory):
    directory = tmp_path_factory.mktemp("set") / "candidates"
    write_candidates(directory)
    return directory
