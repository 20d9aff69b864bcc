"""The table of E-step rules (`select.rule`): how each scores a source's candidates, and what it needs for that.

A config file adds a rule of its own by one line before it returns its configuration:

    RULES["mine"] = RuleSpec(my_score)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from emnat_jax.config.deferred import deferred

SCORES = ("student_log_prob", "teacher0_log_prob")


class RuleSpec(NamedTuple):
    """A line of the table."""

    score: Callable[..., Any]  # (Scores, Weights) -> f64[B, K]; the largest is chosen
    options: type | None = None  # frozen dataclass of its own options; they stand under select.NAME
    needs: tuple[str, ...] = SCORES  # columns of the candidates
    needs_teacher_list: bool = False  # it looks at the order of the teacher's own list
    weighs: bool = False  # it has weights: alpha, beta, quality_weight, output and what fixes them


RULES: dict[str, RuleSpec] = {
    "student_top1": RuleSpec(deferred("emnat_jax.estep.posterior", "student_score")),
    "teacher_top1": RuleSpec(
        deferred("emnat_jax.estep.posterior", "teacher_rank"), needs=(), needs_teacher_list=True
    ),
    "posterior": RuleSpec(deferred("emnat_jax.estep.posterior", "posterior_score"), weighs=True),
}
