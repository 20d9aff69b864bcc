"""Four sources with three made candidates each, and what the E-step chooses of them."""

import numpy as np

from emnat_jax.artifacts.dataset import Provenance, describe_shard, finish_dataset, read_dataset
from emnat_jax.artifacts.records import REFERENCE, Row, shard_name, write_shard
from emnat_jax.config import SelectConfig
from emnat_jax.data.shard_workers import ShardWorkers
from emnat_jax.data.vocab import Vocabulary
from emnat_jax.estep.selection import select
from emnat_jax.types import EOS

STUDENT = [[-1.0, -2.0, -3.0], [-6.0, -1.0, -1.5], [-2.0, -2.5, -0.5], [-1.0, -0.5, -2.0]]
TEACHER0 = [[-1.0, -1.5, -4.0], [-1.0, -3.0, -2.0], [-0.5, -1.0, -2.0], [-2.0, -2.0, -2.5]]
TEXTS = [["a b c", "a b", "c c"], ["b a", "a b c", "b b"], ["c", "c a", "c a b"], ["a", "b", "c"]]
REFERENCES = ["a b", "a b c", "c a b", "b"]
# Of the default E-step without references, with theirs as candidates.
NEUTRAL = {"normalise_length": False, "include_reference": True, "quality_weight": 0.0}


class Letters(Vocabulary):
    """Three words."""

    def __init__(self):
        self.fingerprint = "letters"

    def decode(self, tokens) -> str:
        return " ".join("abc"[token - 4] for token in tokens if token != EOS)


def tokens(text: str) -> np.ndarray:
    return np.array([4 + "abc".index(word) for word in text.split()] + [EOS], np.int32)


def chosen(candidates, directory, workers=ShardWorkers(), *, config=None, **options):
    """The rows that `select` makes of the candidates, and the options of their manifest."""
    config = config or SelectConfig(**NEUTRAL | options)
    manifest = select(candidates, directory, config, vocabulary=Letters(), seed=5, workers=workers)
    return list(read_dataset(directory)), manifest.options


def write_candidates(directory) -> None:
    """Four sources of three candidates, in two shards; the last candidate is the reference of none or one."""
    directory.mkdir()
    rows = [
        Row(
            index,
            tokens("a b"),
            [tokens(text) for text in texts],
            "a b",
            REFERENCES[index],
            {
                "student_log_prob": np.array(STUDENT[index], np.float32),
                "teacher0_log_prob": np.array(TEACHER0[index], np.float32),
                REFERENCE: np.array([0, 0, index == 2], np.float32),
            },
        )
        for index, texts in enumerate(TEXTS)
    ]
    names = [shard_name(part, 2) for part in range(2)]
    for part, name in enumerate(names):
        write_shard(directory / name, rows[2 * part : 2 * part + 2])
    shards = [describe_shard(directory / name) for name in names]
    provenance = Provenance("candidates", {"vocabulary": "letters"}, {}, seed=1)
    finish_dataset(directory, provenance, shards=shards, rows_in=4, dropped={})
