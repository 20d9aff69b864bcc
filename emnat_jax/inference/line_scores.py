"""Scores of pairs of lines, whatever scores the tokens."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from emnat_jax.data.pairs import Pairs
from emnat_jax.data.vocab import Vocabulary
from emnat_jax.errors import require
from emnat_jax.inference.long_lines import warn_of
from emnat_jax.inference.sentences import encode_lines, require_lines, sentence_pairs
from emnat_jax.tokens import is_impossible


class Scorer(Protocol):
    """What scores tokens."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def max_length(self) -> int:
        """The most tokens of a sentence, EOS included."""

    def score_pairs(self, pairs: Pairs) -> np.ndarray:
        """log p(target | source) f32[n] in nats, in the order of the data set."""


def score_lines(
    scorer: Scorer, sources: Sequence[str], targets: Sequence[str], too_long: list[int] | None
) -> np.ndarray:
    """As `TrainedModel.score`."""
    require_lines("sources", sources)
    require_lines("targets", targets)
    require(len(sources) == len(targets), f"{len(sources)} sources but {len(targets)} targets; give as many.")
    sides = [encode_lines(lines, scorer.vocabulary, None) for lines in (sources, targets)]
    fits = np.array([max(map(len, pair)) <= scorer.max_length for pair in zip(*sides)], bool)
    places = np.flatnonzero(~fits).tolist()
    if too_long is None:
        warn_of(places, f"pairs have more than {scorer.max_length} tokens and the score -inf")
    else:
        too_long += places
    log_prob = np.full(len(sources), -np.inf, np.float32)
    fitting = [[side[place] for place in np.flatnonzero(fits)] for side in sides]
    log_prob[fits] = scorer.score_pairs(sentence_pairs(*fitting))
    return np.where(is_impossible(log_prob), np.float32(-np.inf), log_prob)
