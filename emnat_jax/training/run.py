"""What is trained and how (`TrainingRun`), and what comes out of it (`FitResult`)."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol, runtime_checkable

from etils import epath

from emnat_jax.config import TrainConfig
from emnat_jax.families.base import Family
from emnat_jax.runtime.mesh import Layout
from emnat_jax.runtime.processes import Processes
from emnat_jax.runtime.progress import Log
from emnat_jax.training.choice import Chosen, ValidScore
from emnat_jax.training.weights import Weights
from emnat_jax.types import Batch, Params


@runtime_checkable
class Stream(Protocol):
    """Endless NumPy batches with a position.

    A batch holds this process's rows of one step, as `mesh.local_rows` picks them.
    """

    def __next__(self) -> Batch: ...

    def state(self) -> dict[str, int]:
        """The position of the next batch."""

    def restore(self, state: dict[str, int]) -> None:
        """Goes to a position that `state` returned."""


class Position(NamedTuple):
    """A step of a finished run, whose checkpoint is kept."""

    directory: epath.PathLike
    step: int


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """What is trained, on which data, how, and in which folder."""

    family: Family
    stream: Stream
    config: TrainConfig
    layout: Layout
    seed: int
    directory: epath.PathLike
    valid_batches: Callable[[], Iterable[Batch]] | None = None  # one pass over the valid split
    valid_score: ValidScore | None = None  # what config.chosen_by names, unless that is the loss
    initial_params: Params | None = None  # of all modules or of some, in place of random ones
    # In place of `initial_params`: weights, optimiser and average as they were there, and the learning rate
    # goes on from that step.
    continues: Position | None = None
    # Of the model in a training step on this batch of all processes; micro-batches are an axis in front.
    flops: Callable[[Batch], float] | None = None
    name: str = "train"  # in messages and in the progress bar
    option_group: str = "train"  # that `config` comes from, for messages
    remedy: str = "lower the learning rate and train again"  # for a loss that is not finite
    made_from: str = ""  # identifies data and options: checkpoints of another run are refused
    processes: Processes = dataclasses.field(default_factory=Processes)
    log: Log = print


@dataclasses.dataclass(frozen=True)
class FitResult:
    """The outcome of a run."""

    params: Params  # the ones to use, of the weight average where there is one
    step: int  # training steps they have seen
    valid_loss: float | None  # theirs, in nats a token; None without a valid split
    fingerprint: str  # of params
    chosen: Chosen | None = None  # None: the last ones

    @property
    def weights(self) -> Weights:
        """Where `params` are, for `load_params`."""
        return Weights(self.chosen.steps if self.chosen else (self.step,), self.fingerprint)
