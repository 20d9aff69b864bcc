"""The table of E-step rules (`select.rule`): which candidates of a source become training targets.

The functions of the built-in rules are in estep/rules.py. A config file adds a rule of its own by one line
before it returns its configuration:

    RULES["mine"] = RuleSpec(my_scores)
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from emnat_jax.config.deferred import deferred

SCORES = ("student_log_prob", "teacher0_log_prob")


class RuleSpec(NamedTuple):
    """A line of the table."""

    # (Scores, Weights, the rule's options) -> a score of each candidate, f64[B, K]; the largest is chosen.
    score: Callable[..., Any]
    options: type | None = None  # frozen dataclass of its own options; they stand under select.NAME
    columns: tuple[str, ...] = SCORES  # that the candidates must have
    needs_quality: bool = False  # it compares candidates with references
    needs_teacher_list: bool = False  # it looks at the order of the teacher's own list
    # Its scores are logarithms of unnormalised probabilities that use the weights alpha, beta and quality, so
    # that output=sampled and output=weighted, min_quality and max_drift are allowed.
    is_distribution: bool = False
    # How it compares them: (source, candidates, reference), all plain text, -> a number for each candidate,
    # from 0 to 1, the larger the better. None: as select.quality says.
    quality: Callable[[str, Sequence[str], str], Sequence[float]] | None = None


RULES: dict[str, RuleSpec] = {
    "student_top1": RuleSpec(deferred("emnat_jax.estep.rules", "student_top1")),
    "teacher_top1": RuleSpec(
        deferred("emnat_jax.estep.rules", "teacher_top1"), columns=(), needs_teacher_list=True
    ),
    "posterior": RuleSpec(deferred("emnat_jax.estep.rules", "posterior"), is_distribution=True),
}
