"""Losses and what they are made of: pure functions on arrays, in float32, log-probabilities in nats.

A batch is padded with PAD and every sentence ends in EOS (`emnat_jax.types`); a log-probability of NEG_INF
stands for probability zero. All functions are differentiable by their float arguments where that makes sense,
and can be compiled and mapped.

- token by token: `token_log_probs`, `smoothed_cross_entropy`; their sums, from the states and the output
  layer that the logits come from: `smoothed_loss_sums` over `Targets`
- summed over alignments or paths: `ctc_log_prob`, `dag_log_prob`; the best of them: `ctc_alignment`,
  `dag_alignment`; their input: `emission_log_probs`
- bigrams in any order, over all alignments or paths: `ctc_bigrams`, `dag_bigrams` -> `Bigrams`, which
  `bigram_f1` and `bigram_precision` measure
- what a model is shown while it trains: `glancing_ratio`, `glanced`, `random_subset`, `uniform_count`
"""

from emnat_jax.losses.bigrams import Bigrams, bigram_f1, bigram_precision
from emnat_jax.losses.cross_entropy import emission_log_probs, smoothed_cross_entropy, token_log_probs
from emnat_jax.losses.ctc import ctc_alignment, ctc_log_prob
from emnat_jax.losses.ctc_bigrams import ctc_bigrams
from emnat_jax.losses.dag import NO_VERTEX, dag_alignment, dag_log_prob
from emnat_jax.losses.dag_bigrams import dag_bigrams
from emnat_jax.losses.glance import glanced, glancing_ratio, random_subset, uniform_count
from emnat_jax.losses.output_layer import Targets, smoothed_loss_sums

__all__ = [
    "NO_VERTEX",
    "Bigrams",
    "Targets",
    "bigram_f1",
    "bigram_precision",
    "ctc_alignment",
    "ctc_bigrams",
    "ctc_log_prob",
    "dag_alignment",
    "dag_bigrams",
    "dag_log_prob",
    "emission_log_probs",
    "glanced",
    "glancing_ratio",
    "random_subset",
    "smoothed_cross_entropy",
    "smoothed_loss_sums",
    "token_log_probs",
    "uniform_count",
]
