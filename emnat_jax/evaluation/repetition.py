"""How often outputs repeat a token, the failure that position-wise models are known for."""

import itertools
from collections.abc import Iterable


def adjacent_repeat_rate(sentences: Iterable[Iterable]) -> float:
    """Share of neighbouring positions, pooled over all sentences, that hold equal tokens.

    [["a", "a", "b"], ["c"]] gives 0.5. Tokens are strings or ids, without padding; 0 where no sentence
    has two.
    """
    pairs = [a == b for sentence in sentences for a, b in itertools.pairwise(sentence)]
    return float(sum(pairs) / len(pairs)) if pairs else 0.0
