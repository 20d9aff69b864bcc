"""Options of the training after the last round."""

import dataclasses

from emnat_jax.config.checks import check, one_of, positive
from emnat_jax.config.training import OBJECTIVES


@dataclasses.dataclass(frozen=True)
class FinetuneConfig:
    """The last round's student goes on for another objective (docs/method.md, section 5.1)."""

    steps: int | None = None  # None: there is no such training
    objective: str = "ngram"  # as student_train.objective
    lr_ratio: float = 0.1  # peak rate as a share of student_train.optim.peak_lr
    control: bool = True  # beside it a second one with as many steps of student_train.objective

    def __post_init__(self) -> None:
        one_of("objective", self.objective, OBJECTIVES)
        positive(self, "steps", "lr_ratio")
        changed = [name for name in vars(self) if getattr(self, name) != getattr(FinetuneConfig, name)]
        check(
            self.steps is not None or not changed,
            lambda at: f"{', '.join(at + name for name in changed)}: set {at}steps too, e.g. {at}steps=300.",
        )
