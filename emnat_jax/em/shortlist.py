"""The shortlist of a trained student, learned from the pairs that the student has learned from."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator

import numpy as np
from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.artifacts.folders import found_at
from emnat_jax.artifacts.manifest import SETS, is_finished, load_manifest
from emnat_jax.artifacts.records import Row, overlay
from emnat_jax.em.workdir import Workspace
from emnat_jax.errors import UserError
from emnat_jax.export.shortlist import Shortlist, learn_shortlist
from emnat_jax.inference.model import TrainedModel

_TRAINED_ON = ("source", "base", "mono")  # names of what a training reads, as its manifest has them
_FOLDERS = ("*", "data/*", "rounds/*/*")  # of a workdir, where they may lie


def make_shortlist(work: Workspace, model: TrainedModel, count: int) -> tuple[Shortlist, list[str]]:
    """A shortlist of `count` words for each word of the source, and the folders that it was learned from.

    They are the model's training sets, or the workdir's training text where one of them is not there.
    """
    folders = training_sets(work, model) or [work.directory / paths.TRAIN]
    rows = overlay(*(read_dataset(folder) for folder in folders))
    found = learn_shortlist(_pairs(rows), model.vocabulary.size, count)
    return found, [str(folder.relative_to(work.directory)) for folder in folders]


def training_sets(work: Workspace, model: TrainedModel) -> list[epath.Path]:
    """Folders of the workdir with the sets that the model was trained on; none where one is missing.

    Folders that cannot be read are none of them.
    """
    wanted = [model.made_of[name] for name in _TRAINED_ON if name in model.made_of]
    folders = itertools.chain(*(found_at(work.directory, pattern) for pattern in _FOLDERS))
    there: dict[str, epath.Path] = {}
    for folder in folders:
        with contextlib.suppress(UserError, OSError):
            if folder.name != paths.VOCABULARY and is_finished(folder):
                manifest = load_manifest(folder, verify_shards=False, kinds=SETS)
                there.setdefault(manifest.content_hash, folder)
    return [there[content] for content in wanted] if set(wanted) <= set(there) else []


def _pairs(rows: Iterable[Row]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    return ((row.source, target) for row in rows for target in row.targets)
