"""What a stage gets beside its options: workdir, devices, processes, and settings that change no result."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.config import ROLES, Config, DataConfig, MeshConfig, ModelSpec, TrainConfig
from emnat_jax.config.data import FILE_SPLITS, Files
from emnat_jax.data.shard_workers import ShardWorkers
from emnat_jax.data.vocab import Vocabulary, load_vocabulary
from emnat_jax.inference.model import CompiledModel, TrainedModel
from emnat_jax.runtime.mesh import Layout, data_part, make_layout
from emnat_jax.runtime.processes import Processes
from emnat_jax.runtime.progress import Log
from emnat_jax.training.manifest import load_model_manifest, weights_of
from emnat_jax.training.weights import load_params

# Options under `data` that name files and folders. The text in them is what counts, and it may be moved.
PLACES = (
    "root",
    "tfds_dir",
    *(f"{split}_{part}" for split in FILE_SPLITS for part in ("source", "target", "tsv")),
    "test_multi",
    "mono_source",
)


@dataclasses.dataclass(frozen=True)
class Intervals:
    """Steps between what a training writes.

    `log_every` and `checkpoint_every` never change the weights: a checkpoint that early stopping may go back
    to is saved whenever it is found. `eval_every` changes them where the best evaluation is looked for; there
    it is an option of the training (`TrainConfig`), and the one here is not used.
    """

    log_every: int
    eval_every: int
    checkpoint_every: int

    @classmethod
    def of(cls, train: TrainConfig) -> "Intervals":
        """Those of a training."""
        return cls(train.log_every, train.eval_every, train.checkpoint_every)

    def into(self, train: TrainConfig) -> TrainConfig:
        """The training with these intervals, except `eval_every` where it matters."""
        eval_every = self.eval_every if train.chosen_by is None else train.eval_every
        return dataclasses.replace(
            train, log_every=self.log_every, eval_every=eval_every, checkpoint_every=self.checkpoint_every
        )


@dataclasses.dataclass(frozen=True)
class Settings:
    """Options that no result of a stage depends on: a resume may change all of them."""

    mesh: MeshConfig
    decode_rows: int | None  # of a decoding or scoring batch on each device; None: as many as fit
    intervals: dict[str, Intervals]  # by role
    places: dict[str, Files | None]  # of the corpora: PLACES -> path
    vocabulary: str | None  # vocab.path
    samples: int  # example sentences of an evaluation

    @classmethod
    def of(cls, config: Config) -> "Settings":
        """Those of a configuration."""
        return cls(
            mesh=config.mesh,
            decode_rows=config.data.decode_rows,
            intervals={role: Intervals.of(config.role(role).train) for role in ROLES},
            places={name: getattr(config.data, name) for name in PLACES},
            vocabulary=config.vocab.path,
            samples=config.evaluation.samples,
        )

    def in_place(self, data: DataConfig = DataConfig()) -> DataConfig:
        """Options of a corpus, with the places of its files."""
        places: dict[str, Any] = dict(self.places)
        return dataclasses.replace(data, **places)


class Context:
    """One workdir on these devices. Compiled functions are made once and shared by all rounds."""

    # Whether what is half done with other options gives way to what is asked for now. It does among the
    # stages of a plan, whose options were compared before; a folder that a user names is refused.
    starts_over = True

    def __init__(
        self, directory: epath.PathLike, settings: Settings, log: Log, processes: Processes | None = None
    ):
        self.directory, self.settings, self.log = epath.Path(directory), settings, log
        self.processes = processes or Processes()
        self._compiled = functools.cache(self._compile)

    @functools.cached_property
    def layout(self) -> Layout:
        """All devices, as the options under `mesh` lay them out."""
        return make_layout(self.settings.mesh)

    @functools.cached_property
    def workers(self) -> ShardWorkers:
        """The processes that make data sets by shard, and this process's share."""
        return ShardWorkers(self.processes, data_part(self.layout), self.log, self.starts_over)

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """The workdir's; UserError before it is prepared."""
        return load_vocabulary(self.directory / paths.VOCABULARY)

    def compiled(self, model: ModelSpec, buckets: tuple[int, ...]) -> CompiledModel:
        """The compiled functions of a resolved model, for batches of these widths."""
        return self._compiled(model, buckets)

    def _compile(self, model: ModelSpec, buckets: tuple[int, ...]) -> CompiledModel:
        data = DataConfig(buckets=buckets, decode_rows=self.settings.decode_rows)
        return CompiledModel(model, data, self.layout, self.processes)

    def load_model(
        self,
        directory: epath.PathLike,
        buckets: tuple[int, ...],
        change: Callable[[ModelSpec], ModelSpec] | None = None,
    ) -> TrainedModel:
        """A finished model, for batches of these widths; `change` may alter how it decodes."""
        manifest, model = load_model_manifest(directory, self.vocabulary.fingerprint, change)
        functions = self.compiled(model, buckets)
        params = load_params(directory, functions.family, self.layout, weights_of(manifest))
        return TrainedModel(
            functions, params, self.vocabulary, manifest.content_hash, made_of=manifest.fingerprints
        )


def derived_seed(seed: int, *purpose: int) -> int:
    """A seed of its own for each purpose, e.g. (round, role)."""
    return int(np.random.SeedSequence([seed, *purpose]).generate_state(1)[0] >> 1)
