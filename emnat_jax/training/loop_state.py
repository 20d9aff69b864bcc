"""What a checkpoint holds beside the arrays: counters, position in the data, early stopping."""

import dataclasses

from emnat_jax.config import TrainConfig
from emnat_jax.training.metrics import Sums


@dataclasses.dataclass(frozen=True)
class LoopState:
    """The progress of a run, saved as JSON with every checkpoint."""

    step: int = 0  # finished training steps
    position: dict[str, int] | None = None  # in the stream of batches
    unlogged: Sums = dataclasses.field(default_factory=dict)  # training metrics since the last log line
    valid_loss: float | None = None  # of the last evaluation
    best_loss: float | None = None  # this and the next two change only where `patience` is set
    best_step: int | None = None
    stale: int = 0  # evaluations since the best one

    def finished(self, config: TrainConfig) -> bool:
        """Whether all steps are done, or `patience` evaluations brought nothing better."""
        return self.step >= config.steps or (config.patience is not None and self.stale >= config.patience)

    def next_stop(self, config: TrainConfig) -> int:
        """The next step after which something is logged, evaluated or saved."""
        periods = (config.log_every, config.eval_every, config.checkpoint_every)
        return min(config.steps, *((self.step // period + 1) * period for period in periods))

    def is_due(self, period: int, config: TrainConfig) -> bool:
        """Whether what happens every `period` steps, and at the end, happens after this step."""
        return self.step % period == 0 or self.finished(config)

    def evaluated(self, valid_loss: float, config: TrainConfig) -> "LoopState":
        """The state after an evaluation with this loss; notes the best one where `patience` is set."""
        if config.patience is None:
            return dataclasses.replace(self, valid_loss=valid_loss)
        if self.best_loss is None or valid_loss < self.best_loss:
            return dataclasses.replace(
                self, valid_loss=valid_loss, best_loss=valid_loss, best_step=self.step, stale=0
            )
        return dataclasses.replace(self, valid_loss=valid_loss, stale=self.stale + 1)

    def without_lost_best(self, steps: list[int]) -> "LoopState":
        """The same, but without a best step where its checkpoint is not among `steps`."""
        if self.best_step is None or self.best_step in steps:
            return self
        return dataclasses.replace(self, best_step=None, best_loss=None)
