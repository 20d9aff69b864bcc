"""The distribution over a source's candidates that a rule defines, and samples of it."""

import numpy as np
from jaxtyping import Float, Int


def posterior_weights(score: Float[np.ndarray, "*B K"]) -> Float[np.ndarray, "*B K"]:
    """exp(score), normalised over a source's candidates (docs/method.md, section 6.2).

    A score of -inf, as slots without a candidate have it, weighs 0, and so does a whole row of them.
    """
    best = np.max(score, axis=-1, keepdims=True)
    found = np.exp(score - np.where(np.isfinite(best), best, 0.0))
    return found / np.maximum(np.sum(found, axis=-1, keepdims=True), 1.0)


def sample(weights: Float[np.ndarray, "B K"], uniform: Float[np.ndarray, " B"]) -> Int[np.ndarray, " B"]:
    """An index for each source, drawn by weight with a number of [0, 1) for each; -1 where nothing weighs."""
    below = np.cumsum(weights, axis=-1)
    total = below[:, -1:]
    index = np.sum(below <= uniform[:, None] * total, axis=-1)
    last = weights.shape[1] - 1 - np.argmax(weights[:, ::-1] > 0, axis=-1)
    return np.where(total[:, 0] > 0, np.minimum(index, last), -1)
