"""The E-step: which of a source's K candidates becomes a training target (METHOD 1.4, 5.1, 6.3).

Host arithmetic in float64. `keep` is False for slots that hold no candidate.
"""

from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from emnat_jax.config import SelectConfig
from emnat_jax.errors import UserError
from emnat_jax.types import NEG_INF

Numbers = np.ndarray | jax.Array


def posterior_weights(
    nar_log_prob: Float[Numbers, "*B K"],
    ar_log_prob: Float[Numbers, "*B K"],
    keep: Bool[Numbers, "*B K"],
    alpha: float,
    beta: float,
    lengths: Int[Numbers, "*B K"] | None = None,
) -> Float[np.ndarray, "*B K"]:
    """p_NAR^alpha x p_AR^beta, normalised over the kept candidates of a source (METHOD 5.1, 6.3).

    With `lengths` (tokens, EOS included) each log-probability counts per token. Other slots weigh 0,
    and so does a whole row with nothing to keep.
    """
    score = posterior_score(nar_log_prob, ar_log_prob, alpha, beta, lengths)
    score = np.where(keep, score, -np.inf)
    best = np.max(score, axis=-1, keepdims=True)
    weights = np.exp(score - np.where(np.isfinite(best), best, 0.0))
    return weights / np.maximum(np.sum(weights, axis=-1, keepdims=True), 1.0)


def posterior_score(
    nar_log_prob: Float[Numbers, "*B K"],
    ar_log_prob: Float[Numbers, "*B K"],
    alpha: float,
    beta: float,
    lengths: Int[Numbers, "*B K"] | None = None,
) -> Float[np.ndarray, "*B K"]:
    """alpha x log p_NAR + beta x log p_AR in nats, of the sentence or, with `lengths`, of a token."""
    return alpha * _per_unit(nar_log_prob, lengths) + beta * _per_unit(ar_log_prob, lengths)


def choose(
    rule: str,
    *,
    nar_log_prob: Float[Numbers, "B K"],
    ar0_log_prob: Float[Numbers, "B K"],
    keep: Bool[Numbers, "B K"],
    lengths: Int[Numbers, "B K"],
    config: SelectConfig,
) -> Int[np.ndarray, " B"]:
    """Index of the candidate that `rule` takes from each source, best ranked candidates first; -1 of none.

    `nar_top1`: the student's best (the paper's E-step). `ar_top1`: the best ranked, plain distillation.
    `posterior`: the largest p_NAR^alpha x p_AR0^beta. Ties go to the better ranked (METHOD 0.3).
    """
    scale = lengths if config.normalise_length else None
    keep = np.asarray(keep)
    score = RULES[rule](nar_log_prob, ar0_log_prob, scale, config)
    _refuse_nan(score, keep, rule)
    choice = np.argmax(np.where(keep, score, -np.inf), axis=-1)
    return np.where(keep.any(axis=-1), choice, -1)


def _nar_top1(nar_log_prob, ar0_log_prob, lengths, config: SelectConfig) -> np.ndarray:
    return _per_unit(nar_log_prob, lengths)


def _ar_top1(nar_log_prob, ar0_log_prob, lengths, config: SelectConfig) -> np.ndarray:
    return np.zeros(np.shape(ar0_log_prob))  # all tie: the best ranked wins


def _posterior(nar_log_prob, ar0_log_prob, lengths, config: SelectConfig) -> np.ndarray:
    return posterior_score(nar_log_prob, ar0_log_prob, config.alpha, config.beta, lengths)


RULES: dict[str, Callable[..., np.ndarray]] = {
    "nar_top1": _nar_top1,
    "ar_top1": _ar_top1,
    "posterior": _posterior,
}


def _per_unit(log_prob: Numbers, lengths: Numbers | None) -> np.ndarray:
    """float64 log-probability of the sentence, or of a token; -inf as NEG_INF, so that 0 x it is 0."""
    log_prob = np.maximum(np.asarray(log_prob, np.float64), NEG_INF)
    return log_prob if lengths is None else log_prob / np.maximum(np.asarray(lengths), 1)


def _refuse_nan(score: np.ndarray, keep: np.ndarray, rule: str) -> None:
    rows = np.flatnonzero((np.isnan(score) & keep).any(axis=-1))
    if rows.size:
        raise UserError(
            f"select.rule={rule}: the scores of source {rows[0]} and {rows.size - 1} more are not numbers; "
            "the model that gave them has diverged, train it again with a lower optim.peak_lr."
        )
