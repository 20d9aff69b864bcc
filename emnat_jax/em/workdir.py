"""One workdir with one configuration: what commands, reports and the driver open."""

import functools
from collections.abc import Callable

import jax
from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.foreign import refuse_foreign_workdir
from emnat_jax.artifacts.saved_config import read_config
from emnat_jax.config import ROLES, Config, ModelConfig, ModelSpec
from emnat_jax.data.corpora import find_file
from emnat_jax.data.text import read_multi_references
from emnat_jax.em.context import Context, Settings
from emnat_jax.errors import require
from emnat_jax.evaluation.metrics import require_metrics
from emnat_jax.inference.model import TrainedModel
from emnat_jax.runtime.processes import Processes
from emnat_jax.runtime.progress import Log

ENCODER_OPTIONS = (
    *("encoder_layers", "width", "ff_width", "heads"),
    *("norm", "positions", "activation", "scan_layers"),
)


class Workspace(Context):
    """A workdir with the whole configuration, which no stage gets; UserError for one that is foreign."""

    starts_over = False

    def __init__(
        self, config: Config, directory: epath.PathLike, log: Log, processes: Processes | None = None
    ):
        refuse_foreign_workdir(directory)
        super().__init__(directory, Settings.of(config), log, processes)
        self.config = config

    @functools.cached_property
    def context(self) -> Context:
        """The context without the configuration, for stages."""
        return Context(self.directory, self.settings, self.log, self.processes)

    def check(self) -> None:
        """Raises UserError early for families, models or meshes that do not fit, and for missing packages."""
        require_kernels(self.config)
        require_metrics(self.config.scoring)  # missing now, not after the first hours of training
        if self.config.em.share_encoder:
            _require_same_encoder(self.config.teacher, self.config.student)
        if self.config.data.test_multi is not None:
            read_multi_references(find_file(self.config.data, "test_multi"))
        self.layout  # noqa: B018 - made here for its errors

    def load(
        self, directory: epath.PathLike, change: Callable[[ModelSpec], ModelSpec] | None = None
    ) -> TrainedModel:
        """A finished model from its folder; `change` may alter how it decodes."""
        return self.load_model(directory, self.config.data.buckets, change)

    def round_folder(self, index: int, role: str) -> epath.Path:
        """Where the teacher or student of round `index` lies: a frozen teacher in round 0."""
        is_frozen = role == "teacher" and not self.config.em.update_teacher
        return self.directory / paths.model(0 if is_frozen else index, role)


def saved_config(directory: epath.PathLike) -> Config | None:
    """As `read_config`; UserError for the workdir of a sweep or of an earlier version as well."""
    refuse_foreign_workdir(directory)
    return read_config(directory)


def require_kernels(config: Config) -> None:
    """UserError where a model asks for a kernel that the devices at hand do not have."""
    for role in ROLES:
        model = config.role(role).model
        require(
            model.attention == "xla" or jax.default_backend() == "gpu",
            f"{role}.attention={model.attention} needs a CUDA device, and this is {jax.default_backend()}; "
            "use xla.",
        )


def _require_same_encoder(teacher: ModelConfig, student: ModelConfig) -> None:
    """A student can take over an encoder of its own shape only."""
    sizes = [model.resolve(vocab_size=1, max_length=1).transformer for model in (teacher, student)]
    for name in ENCODER_OPTIONS:
        ours, theirs = (getattr(model, name) for model in sizes)
        require(
            ours == theirs,
            f"student.{name}={theirs} is not teacher.{name}={ours}, so that the student cannot start from "
            "the teacher's encoder; make them equal, or set em.share_encoder=False.",
        )
