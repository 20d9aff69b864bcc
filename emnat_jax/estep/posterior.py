"""The E-step: which of a source's K candidates becomes a training target (METHOD 1.4, 5.1, 6.3).

Host arithmetic in float64.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from emnat_jax.config import RULES
from emnat_jax.errors import UserError
from emnat_jax.types import NEG_INF

Numbers = np.ndarray | jax.Array


class Scores(NamedTuple):
    """What the E-step knows of the candidates of some sources, best ranked first."""

    student_log_prob: Float[Numbers, "*B K"]  # nats
    teacher0_log_prob: Float[Numbers, "*B K"]  # of round 0's teacher
    keep: Bool[Numbers, "*B K"]  # False for slots that hold no candidate
    lengths: Int[Numbers, "*B K"] | None = None  # tokens, EOS included; None: scores are of whole sentences
    quality: Float[Numbers, "*B K"] | None = None  # against the reference, 0 to 1


class Weights(NamedTuple):
    """The exponents of the posterior."""

    alpha: float
    beta: float
    quality: float = 0.0


def posterior_weights(scores: Scores, weights: Weights) -> Float[np.ndarray, "*B K"]:
    """p_student^alpha x p_teacher0^beta x exp(w x quality), normalised over a source's candidates (METHOD 5.1, 5.5, 6.3).

    Slots without a candidate weigh 0, and so does a whole row of them.
    """
    score = np.where(scores.keep, posterior_score(scores, weights), -np.inf)
    best = np.max(score, axis=-1, keepdims=True)
    found = np.exp(score - np.where(np.isfinite(best), best, 0.0))
    return found / np.maximum(np.sum(found, axis=-1, keepdims=True), 1.0)


def posterior_score(scores: Scores, weights: Weights) -> Float[np.ndarray, "*B K"]:
    """The logarithm of the same before it is normalised; per token where `scores` have lengths."""
    score = weights.alpha * per_unit(scores.student_log_prob, scores.lengths)
    score = score + weights.beta * per_unit(scores.teacher0_log_prob, scores.lengths)
    return score if weights.quality == 0 else score + weights.quality * np.asarray(scores.quality)


def choose(rule: str, scores: Scores, weights: Weights) -> Int[np.ndarray, " B"]:
    """Index of the candidate that `rule` takes from each source; -1 of none.

    `student_top1`: the student's best (the paper's E-step). `teacher_top1`: the best ranked, plain distillation.
    `posterior`: the largest weight. Ties go to the better ranked (METHOD 0.3).
    """
    keep = np.asarray(scores.keep)
    score = RULES[rule].score(scores, weights)
    refuse_nan(score, keep, rule)
    choice = np.argmax(np.where(keep, score, -np.inf), axis=-1)
    return np.where(keep.any(axis=-1), choice, -1)


def sample(weights: Float[np.ndarray, "B K"], uniform: Float[np.ndarray, " B"]) -> Int[np.ndarray, " B"]:
    """An index by weight for each source, given a number of [0, 1) for each; -1 where nothing weighs."""
    below = np.cumsum(weights, axis=-1)
    total = below[:, -1:]
    index = np.sum(below <= uniform[:, None] * total, axis=-1)
    last = weights.shape[1] - 1 - np.argmax(weights[:, ::-1] > 0, axis=-1)
    return np.where(total[:, 0] > 0, np.minimum(index, last), -1)


def student_score(scores: Scores, weights: Weights) -> np.ndarray:
    """The rule `student_top1`: the student's score."""
    return per_unit(scores.student_log_prob, scores.lengths)


def teacher_rank(scores: Scores, weights: Weights) -> np.ndarray:
    """The rule `teacher_top1`: all tie, so that the best ranked wins."""
    return np.zeros(np.shape(scores.teacher0_log_prob))


def per_unit(log_prob: Numbers, lengths: Numbers | None) -> np.ndarray:
    """float64 log-probability of the sentence, or of a token; -inf as NEG_INF, so that 0 x it is 0.

    What a model cannot produce stays NEG_INF: by the token the longest of such would be the best.
    """
    log_prob = np.maximum(np.asarray(log_prob, np.float64), NEG_INF)
    if lengths is None:
        return log_prob
    return np.where(log_prob <= NEG_INF / 2, NEG_INF, log_prob / np.maximum(np.asarray(lengths), 1))


def refuse_nan(score: np.ndarray, keep: np.ndarray, rule: str) -> None:
    """UserError where the score of a kept candidate is not a number."""
    rows = np.flatnonzero((np.isnan(score) & keep).any(axis=-1))
    if rows.size:
        raise UserError(
            f"select.rule={rule}: the scores of source {rows[0]} and {rows.size - 1} more are not numbers; "
            "the model that gave them has diverged, train it again with a lower optim.peak_lr."
        )
