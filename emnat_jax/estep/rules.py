"""The rules of the E-step: which of a source's K candidates become targets (docs/method.md, section 6.2).

A rule gives each candidate a score; the largest is chosen, and ties go to the better ranked. Every rule has a
line in the table RULES (config/rules.py) and one function

    (scores, weights, options) -> a score of each candidate, f64[B, K]

`scores` holds what is known of the candidates, `weights` are select.alpha, beta and quality_weight, `options`
are the rule's own (None where it has none). Where the table says that a rule defines a distribution, its
scores are logarithms of unnormalised probabilities.
"""

import numpy as np
from jaxtyping import Float, Int

from emnat_jax.config import RULES, SelectConfig
from emnat_jax.errors import UserError
from emnat_jax.estep.scores import Scores, Weights, per_unit


def student_top1(scores: Scores, weights: Weights, options: None = None) -> Float[np.ndarray, "*B K"]:
    """log p_student: the student's best is chosen, as in the paper."""
    return per_unit(scores.student_log_prob, scores.lengths)


def teacher_top1(scores: Scores, weights: Weights, options: None = None) -> Float[np.ndarray, "*B K"]:
    """All candidates tie: the best ranked is chosen, which is plain distillation."""
    return np.zeros(np.shape(scores.teacher0_log_prob))


def posterior(scores: Scores, weights: Weights, options: None = None) -> Float[np.ndarray, "*B K"]:
    """alpha log p_student + beta log p_teacher0 + w quality; per token where `scores` have lengths."""
    score = weights.alpha * per_unit(scores.student_log_prob, scores.lengths)
    score = score + weights.beta * per_unit(scores.teacher0_log_prob, scores.lengths)
    return score if weights.quality == 0 else score + weights.quality * np.asarray(scores.quality)


def rule_scores(select: SelectConfig, scores: Scores, weights: Weights) -> Float[np.ndarray, "B K"]:
    """What the rule of the configuration gives each candidate; -inf in slots without one.

    UserError where the score of a candidate is not a number.
    """
    score = np.asarray(RULES[select.rule].score(scores, weights, select.rule_options), np.float64)
    keep = np.asarray(scores.keep)
    if score.shape != keep.shape:
        raise ValueError(f"select.rule={select.rule}: scores of shape {score.shape}; give {keep.shape}")
    rows = np.flatnonzero((np.isnan(score) & keep).any(axis=-1))
    if rows.size:
        raise UserError(
            f"select.rule={select.rule}: the scores of source {rows[0]} and {rows.size - 1} more are not "
            "numbers: a model that gave them has diverged. Train it again with a lower optim.peak_lr (of "
            "teacher_train or student_train), then score and select anew."
        )
    return np.where(keep, score, -np.inf)


def choose(select: SelectConfig, scores: Scores, weights: Weights) -> Int[np.ndarray, " B"]:
    """Index of the candidate with the largest score of each source, ties to the better ranked; -1 of none."""
    choice = np.argmax(rule_scores(select, scores, weights), axis=-1)
    return np.where(np.asarray(scores.keep).any(axis=-1), choice, -1)
