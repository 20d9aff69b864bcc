"""Decoders: pure functions that never see parameters, only arrays or a function that gives log-probabilities.

Sentences end in EOS and are padded with PAD; log-probabilities are in nats, NEG_INF stands for probability
zero (`emnat_jax.types`). Several outputs a source are `Hypotheses`, best first.

- step by step: `beam_search`, `greedy_search`, `sample_search` (with `source_keys`), over a `LogProbsFn`
- greedy search that checks drafts, several tokens a pass: `verified_search` over a `BlockFn`, with `align`
- one token a position: `argmax_decode`, `odd_decode` (no equal neighbours), `mask_predict` (several passes)
- `ctc`: frames, by the best path or a search over prefixes
- `dag`: a graph of vertices, by its best path or a search
- which lengths to try, and in which order outputs stand: `candidate_lengths`, `length_penalty`, `rank_score`,
  `rerank`, `first_candidates`
- the largest entries of long rows: `top_1`, `top_k`, `top_of_slots`

A new decoder is a file here, its name among the decoders of a family's options (`config/families.py`), and a
branch in that family's file.
"""

from emnat_jax.decoding import ctc, dag
from emnat_jax.decoding.beam import LogProbsFn, beam_search, greedy_search, pick_slots
from emnat_jax.decoding.length_parallel import candidate_lengths
from emnat_jax.decoding.mask_predict import Refined, mask_predict
from emnat_jax.decoding.odd import argmax_decode, odd_decode
from emnat_jax.decoding.rerank import first_candidates, length_penalty, rank_score, rerank
from emnat_jax.decoding.sample import sample_search, source_keys
from emnat_jax.decoding.top import top_1, top_k, top_of_slots
from emnat_jax.decoding.verified import BlockFn, Verified, align, verified_search

__all__ = [
    "BlockFn",
    "LogProbsFn",
    "Refined",
    "Verified",
    "align",
    "argmax_decode",
    "beam_search",
    "candidate_lengths",
    "ctc",
    "dag",
    "first_candidates",
    "greedy_search",
    "length_penalty",
    "mask_predict",
    "odd_decode",
    "pick_slots",
    "rank_score",
    "rerank",
    "sample_search",
    "source_keys",
    "top_1",
    "top_k",
    "top_of_slots",
    "verified_search",
]
