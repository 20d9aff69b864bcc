"""What a checkpoint holds beside the arrays: counters, position in the data, the best evaluations."""

import dataclasses
from typing import Any

from emnat_jax.config import TrainConfig
from emnat_jax.training.metrics import Sums


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """One look at the valid split."""

    step: int
    loss: float  # nats a token, on the references
    value: float  # of what the best is chosen by
    rank: float  # the same, the larger the better


@dataclasses.dataclass(frozen=True)
class LoopState:
    """The progress of a run, saved as JSON with every checkpoint."""

    step: int = 0  # finished training steps
    position: dict[str, int] | None = None  # in the stream of batches
    unlogged: Sums = dataclasses.field(default_factory=dict)  # training metrics since the last log line
    valid_loss: float | None = None  # of the last evaluation
    best: tuple[Evaluated, ...] = ()  # first the best; as many as are averaged. Empty: the last is used
    stale: int = 0  # evaluations since the best one
    unevaluated: bool = False  # told to end while the valid split was looked at after this step

    @classmethod
    def of(cls, metadata: dict[str, Any]) -> "LoopState":
        """The state that a checkpoint's metadata hold."""
        metadata = dict(metadata)
        best = [Evaluated(**found) for found in metadata.pop("best", ())]
        # Checkpoints of before knew a single best one, by its loss.
        step, loss = metadata.pop("best_step", None), metadata.pop("best_loss", None)
        best += [] if step is None else [Evaluated(step, loss, loss, -loss)]
        return cls(**metadata, best=tuple(best))

    @property
    def kept(self) -> tuple[int, ...]:
        """The steps of the best evaluations, in increasing order; their checkpoints are kept."""
        return tuple(sorted(found.step for found in self.best))

    def finished(self, config: TrainConfig) -> bool:
        """Whether all steps are done, or `patience` evaluations brought nothing better."""
        patience = config.patience
        done = self.step >= config.steps or (patience is not None and self.stale >= patience)
        return done and not self.unevaluated

    def next_stop(self, config: TrainConfig) -> int:
        """The next step after which something is logged, evaluated or saved."""
        periods = (config.log_every, config.eval_every, config.checkpoint_every)
        return min(config.steps, *((self.step // period + 1) * period for period in periods))

    def is_due(self, period: int, config: TrainConfig) -> bool:
        """Whether what happens every `period` steps, and at the end, happens after this step."""
        return self.step % period == 0 or self.finished(config)

    def evaluated(self, found: Evaluated, config: TrainConfig) -> "LoopState":
        """The state after an evaluation; notes the best ones where one of them is to be used.

        Of equal ones that with the lower loss is the better, as while BLEU is still 0; then the earlier.
        """
        if config.chosen_by is None:
            return dataclasses.replace(self, valid_loss=found.loss)
        best = sorted([*self.best, found], key=lambda one: (-one.rank, one.loss))
        stale = 0 if best[0] is found else self.stale + 1
        count = config.average_best or 1
        return dataclasses.replace(self, valid_loss=found.loss, best=tuple(best[:count]), stale=stale)

    def without_lost_best(self, steps: list[int]) -> "LoopState":
        """The same, but without best evaluations whose checkpoints are not among `steps`."""
        best = tuple(found for found in self.best if found.step in steps)
        return dataclasses.replace(self, best=best)
