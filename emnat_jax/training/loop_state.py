"""What a run must remember besides its arrays, and the rule of early stopping."""

import dataclasses

from emnat_jax.config import TrainConfig
from emnat_jax.training.metrics import Sums


@dataclasses.dataclass(frozen=True)
class LoopState:
    """Saved as JSON with every checkpoint, so that a resumed run goes on exactly where it was."""

    step: int = 0  # finished updates
    position: dict[str, int] | None = None  # of the stream
    window: Sums = dataclasses.field(default_factory=dict)  # training metrics since the last log line
    valid_loss: float | None = None  # the last one
    best_loss: float | None = None  # these three change only where patience is set
    best_step: int | None = None
    stale: int = 0  # evaluations since the best one

    def finished(self, config: TrainConfig) -> bool:
        """Whether all steps are done or the patience is at its end."""
        return self.step >= config.steps or (config.patience is not None and self.stale >= config.patience)

    def next_stop(self, config: TrainConfig) -> int:
        """The next step at which something is logged, evaluated or saved."""
        periods = (config.log_every, config.eval_every, config.checkpoint_every)
        return min(config.steps, *((self.step // period + 1) * period for period in periods))

    def is_due(self, period: int, config: TrainConfig) -> bool:
        """Whether something that happens every `period` steps, and at the end, happens now."""
        return self.step % period == 0 or self.finished(config)

    def evaluated(self, valid_loss: float, config: TrainConfig) -> "LoopState":
        """The same after an evaluation; keeps the best where `patience` is set."""
        if config.patience is None:
            return dataclasses.replace(self, valid_loss=valid_loss)
        if self.best_loss is None or valid_loss < self.best_loss:
            return dataclasses.replace(
                self, valid_loss=valid_loss, best_loss=valid_loss, best_step=self.step, stale=0
            )
        return dataclasses.replace(self, valid_loss=valid_loss, stale=self.stale + 1)

    def without_lost_best(self, steps: list[int]) -> "LoopState":
        """The same if the best checkpoint is among `steps`, else as if none had been best yet."""
        if self.best_step is None or self.best_step in steps:
            return self
        return dataclasses.replace(self, best_step=None, best_loss=None)
