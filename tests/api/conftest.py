"""A finished workdir to look at, a vocabulary of three words, and a model of every family for it."""

import functools
import shutil

import pytest

from emnat_jax.config import DataConfig, MeshConfig, VocabConfig
from emnat_jax.data.vocab_training import train_vocabulary
from emnat_jax.inference.model import CompiledModel, TrainedModel
from emnat_jax.runtime.mesh import make_layout
from tests import tiny
from tests.em.runs import finished_run


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A workdir after all rounds."""
    directory = tmp_path_factory.mktemp("api") / "run"
    shutil.copytree(finished_run(tmp_path_factory), directory)
    return directory


@pytest.fixture(scope="module")
def vocabulary():
    """The special ids and three words."""
    made = train_vocabulary(["a b c", "c b a"] * 20, VocabConfig(size=60, model="word"))
    assert made.size == tiny.VOCAB_SIZE
    return made


@pytest.fixture(scope="module")
def trained(vocabulary):
    """A function: name of a family -> a model of random weights."""
    data, layout = DataConfig(buckets=(tiny.MAX_LENGTH,), decode_rows=4), make_layout(MeshConfig())

    @functools.cache
    def make(name: str) -> TrainedModel:
        return TrainedModel(
            CompiledModel(tiny.model(name), data, layout), tiny.params(name), vocabulary, f"{name:_<64}"
        )

    return make
