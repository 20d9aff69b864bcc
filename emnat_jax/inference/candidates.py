"""What a search has found for one source."""

from typing import NamedTuple

import numpy as np


class Candidates(NamedTuple):
    """The filled hypotheses of one source, best first."""

    tokens: list[np.ndarray]  # each i32[T], EOS included
    log_prob: np.ndarray  # f32[K]; nats, summed over the sentence
    rank_score: np.ndarray  # f32[K]; what the order goes by

    def first(self, count: int) -> "Candidates":
        """The `count` best."""
        return Candidates(self.tokens[:count], self.log_prob[:count], self.rank_score[:count])

    def followed_by(self, others: "Candidates") -> "Candidates":
        """These and then the others."""
        log_prob, rank_score = (np.append(a, b) for a, b in zip(self[1:], others[1:], strict=True))
        return Candidates(self.tokens + others.tokens, log_prob, rank_score)
