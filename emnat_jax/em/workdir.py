"""What the stages share: the configuration, the workdir, the vocabulary, the compiled systems."""

import functools
import json
from collections.abc import Callable

import jax
import numpy as np
from etils import epath

from emnat_jax.artifacts.atomic import atomic_file
from emnat_jax.config import ROLES, Config, ModelConfig, ModelSpec
from emnat_jax.config.convert import differences, from_dict, read_saved, to_dict
from emnat_jax.data.corpora import find_file
from emnat_jax.data.multi_references import read_multi_references
from emnat_jax.data.shard_workers import ShardWorkers
from emnat_jax.data.vocab import Vocabulary, load_vocabulary
from emnat_jax.errors import UserError, require
from emnat_jax.inference.model import CompiledModel, TrainedModel
from emnat_jax.runtime.mesh import Layout, make_layout, reader
from emnat_jax.runtime.processes import Processes
from emnat_jax.training.loop import load_params
from emnat_jax.training.manifest import load_model_manifest

Log = Callable[[str], None]
CONFIG_NAME = "config.json"
ENCODER_OPTIONS = ("encoder_layers", "width", "ff_width", "heads", "norm", "positions", "scan_layers",
                   "max_length", "vocab_size")  # fmt: skip
# What may differ between a run and its resumption: layout of devices, places of files, logging.
FREE_TO_CHANGE = ("mesh.", "data.root", "data.tfds_dir", "data.train_source", "data.train_target",
                  "data.valid_source", "data.valid_target", "data.test_source", "data.test_target",
                  "teacher_train.log_every", "student_train.log_every")  # fmt: skip


class Workspace:
    """One workdir with one configuration. Compiled functions are made once and shared by all rounds."""

    def __init__(
        self, config: Config, directory: epath.PathLike, log: Log, processes: Processes | None = None
    ):
        self.config, self.directory, self.log = config, epath.Path(directory), log
        self.processes = processes or Processes()
        self._compiled = functools.cache(
            lambda model: CompiledModel(model, config.data, self.layout, self.processes)
        )

    def check(self) -> None:
        """UserError now for what would else show after hours: families, models or meshes that do not fit."""
        require_kernels(self.config)
        student = self.config.student
        require(
            student.family_options.is_parallel,
            f"student.family={student.family}: a student is parallel; choose another family.",
        )
        if self.config.em.share_encoder:
            _require_same_encoder(self.config.teacher, self.config.student)
        if self.config.data.test_multi is not None:
            read_multi_references(find_file(self.config.data, "test_multi"))
        self.layout  # noqa: B018 - made here for its errors

    @functools.cached_property
    def layout(self) -> Layout:
        """All devices, as `config.mesh` lays them out."""
        return make_layout(self.config.mesh)

    @functools.cached_property
    def workers(self) -> ShardWorkers:
        """Who makes data sets shard by shard, and this process's part in it."""
        return ShardWorkers(self.processes, reader(self.layout), self.log)

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """The workdir's; UserError before it is prepared."""
        return load_vocabulary(self.directory / "vocab")

    def model_config(self, role: str) -> ModelSpec:
        """The resolved configuration of the teacher or the student."""
        return self.config.role(role).model.resolve(self.vocabulary.size, self.config.data.max_length)

    def compiled(self, model: ModelSpec) -> CompiledModel:
        """The compiled functions of a resolved configuration."""
        return self._compiled(model)

    def load(
        self, directory: epath.PathLike, change: Callable[[ModelSpec], ModelSpec] | None = None
    ) -> TrainedModel:
        """A finished model from its folder; `change` may alter how it decodes."""
        manifest, model = load_model_manifest(directory, self.vocabulary.fingerprint)
        functions = self.compiled(change(model) if change else model)
        params = load_params(epath.Path(directory), functions.family, self.layout)
        return TrainedModel(functions, params, self.vocabulary, manifest.content_hash)

    def round_folder(self, index: int, role: str) -> epath.Path:
        """Where the teacher or student of round `index` lies, in that of an earlier round if it stays."""
        stays = role == "teacher" and not self.config.em.update_teacher
        return self.directory / f"rounds/{0 if stays else index}" / role

    def round_model(self, index: int, role: str) -> TrainedModel:
        """The teacher or student of round `index`."""
        return self.load(self.round_folder(index, role))

    def seed(self, *purpose: int) -> int:
        """A seed of its own for each purpose, e.g. (round, role)."""
        return int(np.random.SeedSequence([self.config.seed, *purpose]).generate_state(1)[0] >> 1)

    def keep_config(self) -> None:
        """Writes config.json, or refuses to go on with another configuration than before.

        Raises UserError as well when this process was started with another one than the first.
        """
        new = _as_json(to_dict(self.config))
        first = self.processes.broadcast("configuration", lambda: new)
        if changed := differences(first, new):
            raise UserError(
                f"process {self.processes.index} has another configuration than process 0; different: "
                f"{', '.join(changed)}. Start all with the same options."
            )
        self.processes.broadcast("config.json", lambda: self._keep_config(new))

    def _keep_config(self, new: dict) -> None:
        changed = begun_with_other(self.directory, self.config)
        if changed:
            raise UserError(
                f"{self.directory} was begun with another configuration; different: {', '.join(changed)}. "
                "Go back to those values, or use a new workdir."
            )
        if changed is None:
            self.directory.mkdir(parents=True, exist_ok=True)
            with atomic_file(self.directory / CONFIG_NAME) as file:
                file.write(json.dumps(new, indent=2).encode() + b"\n")


def require_kernels(config: Config) -> None:
    """UserError where a model asks for a kernel that the devices at hand do not have."""
    for model in (config.role(role).model for role in ROLES):
        require(
            model.attention == "xla" or jax.default_backend() == "gpu",
            f"model.attention={model.attention} needs a CUDA device, and this is {jax.default_backend()}; use xla.",
        )


def begun_with_other(directory: epath.Path, config: Config) -> list[str] | None:
    """The options in which a workdir was begun with another configuration; None where it was not begun.

    Options that came after the run was begun have their default there.
    """
    path = directory / CONFIG_NAME
    if not path.exists():
        return None
    old, new = (_as_json(to_dict(c)) for c in (from_dict(read_saved(path)), config))
    free = FREE_TO_CHANGE
    if old["data"]["test_multi"] and new["data"]["test_multi"]:  # the file may move, but not come or go
        free += ("data.test_multi",)
    return [name for name in differences(old, new) if not name.startswith(free)]


def _require_same_encoder(teacher: ModelConfig, student: ModelConfig) -> None:
    """A student can take over an encoder of its own shape only."""
    sizes = [model.resolve(vocab_size=1, max_length=1).transformer for model in (teacher, student)]
    for name in ENCODER_OPTIONS:
        ours, theirs = (getattr(model, name) for model in sizes)
        require(
            ours == theirs,
            f"student.{name}={theirs} is not teacher.{name}={ours}, so that the student cannot start from the "
            "teacher's encoder; make them equal, or set em.share_encoder=False.",
        )


def _as_json(values: dict) -> dict:
    return json.loads(json.dumps(values))
