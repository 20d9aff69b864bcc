"""Which weights of a run are used: the last, those of its best evaluation, or the mean of several."""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax

from emnat_jax.config import TrainConfig
from emnat_jax.errors import UserError, require
from emnat_jax.training.loop_state import Evaluated
from emnat_jax.training.metrics import Sums, means, merge
from emnat_jax.training.step import EvalStep
from emnat_jax.types import Batch, Params


class ValidScore(NamedTuple):
    """What evaluations are compared by, where that is not the loss on the references."""

    name: str  # valid_NAME in metrics.jsonl
    measure: Callable[[Params], float]  # on the valid split; all processes call it together, and agree
    larger_is_better: bool

    def rank(self, value: float) -> float:
        """`value` so that the largest is the best."""
        return value if self.larger_is_better else -value


class Chosen(NamedTuple):
    """Why these weights."""

    by: str  # a value of train.best_by
    value: float  # of the weights that are used
    steps: tuple[int, ...]  # whose weights they are the mean of


def require_valid_split(config: TrainConfig, has_one: bool, group: str) -> None:
    """UserError where what is asked for needs a valid split and there is none.

    `group` names the options of `config`.
    """
    names = ("patience", "average_best", "best_by")
    asked = [f"{group}.{name}={value}" for name in names if (value := getattr(config, name)) is not None]
    require(
        has_one or not config.tune_length,
        f"{group}.tune_length=True: the length of outputs is tuned on a valid split; give one, or set "
        f"{group}.tune_length=False.",
    )
    require(
        has_one or not asked,
        f"{', '.join(asked)}: the best evaluation is one on a valid split; give one, or leave "
        f"{', '.join(f'{group}.{name}' for name in names)} at None.",
    )


def look_at_valid(
    eval_step: EvalStep,
    params: Params,
    batches: Iterable[Batch],
    *,
    score: ValidScore | None,
    step: int,
    mend: str,
) -> tuple[Evaluated, dict[str, float]]:
    """What parameters are worth on the valid split, and all figures of it by their names in the log.

    UserError where there are no batches, and for a loss that is not finite (`mend`: what helps).
    """
    evaluated = [eval_step(params, batch) for batch in batches]
    sums: Sums = {}
    for metrics in jax.device_get(evaluated):
        sums = merge(sums, metrics)
    values = means(sums, "valid_")
    if not evaluated or not math.isfinite(values["valid_loss"]):
        what = f"is {values['valid_loss']}" if evaluated else "has no rows"
        advice = f"look at its rows, or {mend}" if evaluated else "give it some"
        raise UserError(f"the loss on the valid split {what} at step {step}; {advice}.")
    loss = values["valid_loss"]
    if score is None:
        return Evaluated(step, loss, loss, -loss), values
    value = score.measure(params)
    return Evaluated(step, loss, value, score.rank(value)), values | {f"valid_{score.name}": value}
