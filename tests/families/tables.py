"""What a prediction says of one row, as tables that brute force can list; in float64."""

import numpy as np

from emnat_jax.families import ctc, dag
from emnat_jax.types import BOS, EOS, NEG_INF, PAD, UNK
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


class Graph(brute_force.Dag):
    """A graph whose first vertex is silent: it emits BOS for certain, and targets are what follows."""

    def log_prob(self, tokens):
        return super().log_prob((BOS, *tokens))

    def best_path(self, tokens):
        return super().best_path((BOS, *tokens))[1:]


def graph(prediction: dag.Prediction, row: int) -> Graph:
    """The graph of the row; the first vertex emits BOS for certain, the last EOS."""
    log_probs = np.maximum(log_softmax(prediction.logits[row]), NEG_INF)
    last = int(prediction.last[row])
    log_probs[:, [BOS, EOS]] = NEG_INF
    for vertex, token in ((0, BOS), (last, EOS)):
        log_probs[vertex] = np.where(np.arange(log_probs.shape[1]) == token, 0.0, NEG_INF)
    return Graph(log_probs, np.asarray(prediction.links[row], np.float64), last)
