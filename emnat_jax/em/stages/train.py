"""The stage that trains a teacher or a student."""

import dataclasses
import posixpath
from typing import Any, ClassVar

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.config import Config
from emnat_jax.data.folds import Fold
from emnat_jax.em.context import Context
from emnat_jax.em.stages.base import Stage, maker_of
from emnat_jax.em.stages.begun import lost_step, require_own_checkpoints
from emnat_jax.em.stages.programs import (
    Program,
    Target,
    decode_program,
    lengths_program,
    loss_program,
    train_program,
)
from emnat_jax.em.train_model import Sources, train_model
from emnat_jax.em.train_options import TrainOptions, training_options


@dataclasses.dataclass(frozen=True)
class Train(Stage[TrainOptions]):
    """Makes the teacher or the student of a round, its control, or a student that leaves out a fold."""

    round: int
    role: str  # whose configuration; all but the teacher have the student's
    data: str
    base: str | None = None
    start: str | None = None
    targets: int = 1
    teacher: str | None = None  # only where the training looks at its translations of the valid split
    mono: str | None = None
    left_out: Fold | None = None  # of the corpus

    kind: ClassVar[str] = "train"

    def inputs(self) -> dict[str, str]:
        read = {"data" if name == "source" else name: path for name, path in self.fingerprints().items()}
        return {"vocabulary": paths.DATA} | {name: maker_of(path) for name, path in read.items()}

    def fingerprints(self) -> dict[str, str]:
        read = {
            "source": self.data,
            "base": self.base,
            "start": self.start,
            "teacher": self.teacher,
            "mono": self.mono,
        }
        return {name: path for name, path in read.items() if path}

    def options(self, config: Config) -> TrainOptions:
        return training_options(config, self.role, self.round, self.targets, left_out=self.left_out)

    def conditions(self, config: Config) -> dict[str, Any]:
        """Whether there is such a round at all: the rules that may end the rounds before it."""
        rules = ("stop_min_gain", "stop_max_drift")
        return {name: getattr(config.em, name) for name in rules} if self.round else {}

    def damage(self, workdir: epath.Path) -> str | None:
        require_own_checkpoints(workdir / self.output)
        lost = lost_step(workdir / self.output)
        return None if lost is None else f"the checkpoint after step {lost} is lost"

    def run(self, options: TrainOptions, context: Context) -> None:
        here = context.directory
        others = (path and here / path for path in (self.base, self.start, self.teacher, self.mono))
        sources = Sources(here / self.data, *others)
        label, remedy = self._label(), self._remedy()
        train_model(context, options, sources, here / self.output, label=label, remedy=remedy)

    def _label(self) -> str:
        """The model in messages."""
        return f"round {self.round} {posixpath.basename(self.output)}"

    def _remedy(self) -> str:
        """How to lower the rate of this training."""
        key = f"{self.role}_train.optim.peak_lr" if self.start is None else "em.later_lr_ratio"
        if self.round == 0:
            return f"lower {self.role}_train.optim.peak_lr and run again"
        return f"lower {key} and run again; `emnat em --plan` says what must be deleted for that"

    def programs(self, options: TrainOptions, target: Target) -> list[Program]:
        model, train, width = options.resolved(target.vocabulary), options.train, options.buckets[-1]
        programs = [
            train_program(self.role, model, train, target, options.data, targets=options.targets),
            loss_program(self.role, target, width=width),
        ]
        if train.chosen_by == "bleu":
            programs.append(decode_program("evaluate", options.role, target, width=width))
        choices = model.options.length_choices()
        if train.tune_length and choices is not None:
            programs.append(lengths_program(model, choices, target, width=width))
        return programs
