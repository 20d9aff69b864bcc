"""An E-step rule of one's own, in a configuration file.

emnat em --config=tests/estep/outside_rule.py --workdir=runs/maximin
"""

import dataclasses

import numpy as np

from emnat_jax.config import RULES, RuleSpec, to_config_dict


@dataclasses.dataclass(frozen=True)
class MaximinOptions:
    """They stand under select.maximin."""

    handicap: float = 0.0  # nats added to the teacher's score


def maximin(scores, weights, options: MaximinOptions):
    """The candidate that both models can live with: the larger, the better the worse of its two scores."""
    return np.minimum(scores.student_log_prob, scores.teacher0_log_prob + options.handicap)


def get_config():
    RULES["maximin"] = RuleSpec(maximin, MaximinOptions)
    config = to_config_dict()
    config.select.rule = "maximin"
    config.select.maximin.handicap = 0.5
    return config
