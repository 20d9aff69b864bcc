"""What a prediction says of one row, as tables that brute force can list; in float64."""

import numpy as np

from emnat_jax.families import ctc, dag
from emnat_jax.types import EOS, NEG_INF, PAD, UNK
from tests import brute_force, tiny

EMITTED = [PAD, UNK, *tiny.WORDS]  # PAD is the blank


def log_softmax(logits) -> np.ndarray:
    logits = np.asarray(logits, np.float64)
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def frames(prediction: ctc.Prediction, row: int) -> np.ndarray:
    """Log-probabilities [L, V] of the row's own frames."""
    return log_softmax(prediction.logits[row])[: prediction.frames[row]]


def ctc_outputs(prediction: ctc.Prediction, row: int) -> dict[tuple[int, ...], float]:
    """Of every output, EOS included, its log-probability."""
    outputs = brute_force.ctc_outputs(frames(prediction, row)[:, EMITTED])
    return {(*(EMITTED[i] for i in output), EOS): value for output, (value, _) in outputs.items()}


def graph(prediction: dag.Prediction, row: int) -> brute_force.Dag:
    """The graph of the row, in which the last vertex emits EOS for certain."""
    log_probs = np.maximum(log_softmax(prediction.logits[row]), NEG_INF)
    last = int(prediction.last[row])
    log_probs[:, EOS] = NEG_INF
    log_probs[last] = np.where(np.arange(log_probs.shape[1]) == EOS, 0.0, NEG_INF)
    return brute_force.Dag(log_probs, np.asarray(prediction.links[row], np.float64), last)
