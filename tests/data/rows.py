"""Rows and vocabularies for the tests of the data layer."""

import json

import numpy as np
from etils import epath

from emnat_jax.artifacts.dataset import Provenance, describe_shard, finish_dataset
from emnat_jax.artifacts.records import Row, shard_name, write_shard
from emnat_jax.artifacts.sealed import seal
from emnat_jax.config import VocabConfig
from emnat_jax.data.stored_sets import StoredSet
from emnat_jax.data.vocab_training import train_vocabulary
from emnat_jax.types import EOS

LINES = [
    "the cat sat on the mat",
    "a dog saw the cat",
    "die Katze saß auf der Matte",
    "ein Hund sah die Katze",
]


def tokens(*ids: int) -> np.ndarray:
    """The ids with EOS after them."""
    return np.array([*ids, EOS], np.int32)


def random_rows(
    count: int, *, longest: int = 12, targets: int = 1, first: int = 0, seed: int = 0
) -> list[Row]:
    """Rows with 1 to `longest` tokens a side."""
    rng = np.random.default_rng(seed)

    def sentence() -> np.ndarray:
        return tokens(*rng.integers(4, 60, rng.integers(0, longest)))

    return [
        Row(first + i, sentence(), [sentence() for _ in range(targets)], f"s{i}", f"t{i}")
        for i in range(count)
    ]


def write_dataset(directory, rows: list[Row], *, shards: int = 1, kind: str = "bitext", **changes):
    """A finished data set of `rows` in `shards` files; returns its manifest."""
    for i, part in enumerate(np.array_split(np.arange(len(rows)), shards)):
        write_shard(directory / shard_name(i, shards), [rows[j] for j in part])
    described = [describe_shard(directory / shard_name(i, shards)) for i in range(shards)]
    arguments = dict(rows_in=len(rows), dropped={}, fingerprints={"vocabulary": "v"}, options={}, seed=1)
    about = {**arguments, **changes}
    provenance = Provenance(kind, *(about.pop(name) for name in ("fingerprints", "options", "seed")))
    return finish_dataset(directory, provenance, shards=described, **about)


def stored(directory, rows: list[Row], shards: int = 3) -> StoredSet:
    """A finished set, as a training takes it."""
    directory = epath.Path(directory)
    return StoredSet(directory, write_dataset(directory, rows, shards=shards, kind="distilled"))


def edit_manifest(directory, **changes) -> None:
    """Another manifest with the checksum that belongs to it, as somebody who means it would write one."""
    path = directory / "MANIFEST.json"
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(seal({k: v for k, v in values.items() if k != "checksum"}, free=("created",))))


def small_vocabulary(model: str = "bpe"):
    """A vocabulary of LINES."""
    return train_vocabulary(LINES, VocabConfig(size=320, model=model))
