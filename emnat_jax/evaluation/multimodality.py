"""How multi-modal a set of targets is: a student's negative log-likelihood of it (docs/method.md, section 3).

All in nats and float64. `log_prob` is summed over a sentence, EOS included; with or without the
length term, as the caller scored it. `lengths` count tokens, EOS included.
"""

import jax
import numpy as np
from jaxtyping import Float, Int

from emnat_jax.errors import UserError

Numbers = np.ndarray | jax.Array


def normalised_multimodality(
    log_prob: Float[Numbers, " n"], lengths: Int[Numbers, " n"], weight: Float[Numbers, " n"] | None = None
) -> float:
    """NCM: nats a token over the whole corpus, sum(-log_prob) / sum(lengths), each sentence by its weight.

    Pooled, which is not the mean of the sentences' ratios (docs/method.md, section 13.2).
    """
    weight = np.ones(len(lengths)) if weight is None else np.asarray(weight, np.float64)
    return float(np.dot(weight, -_not_empty(log_prob)) / np.dot(weight, _not_empty(lengths)))


def total_correlation(
    student_log_prob: Float[Numbers, " n"],
    teacher_log_prob: Float[Numbers, " n"],
    lengths: Int[Numbers, " n"],
    weight: Float[Numbers, " n"] | None = None,
) -> float:
    """NCM - teacher NLL: nats a token that a parallel model loses because it models no dependencies.

    It estimates the conditional total correlation, with the teacher's NLL as the estimate of the entropy.
    """
    ncm, teacher_nll = (
        normalised_multimodality(x, lengths, weight) for x in (student_log_prob, teacher_log_prob)
    )
    return ncm - teacher_nll


def _not_empty(values: Numbers) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.size == 0:
        raise UserError("multi-modality of no sentences: the scored set is empty; score at least one row.")
    return values
