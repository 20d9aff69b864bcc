"""Bigrams of sequences and of weighted lists of sequences, by counting."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Sequence


def bigrams_of(tokens: Sequence[int]) -> Counter:
    """How often a sequence has each pair of neighbours."""
    return Counter(itertools.pairwise(map(int, tokens)))


def expected_bigrams(outputs: dict[tuple[int, ...], float]) -> Counter:
    """Mean count of each pair of neighbours over outputs with these probabilities."""
    found = Counter()
    for output, probability in outputs.items():
        for pair, count in bigrams_of(output).items():
            found[pair] += probability * count
    return found


def matched_bigrams(expected: Counter, tokens: Sequence[int]) -> float:
    """Expected counts of the pairs of `tokens`, each at most as often as there."""
    return sum(min(expected[pair], count) for pair, count in bigrams_of(tokens).items())


def largest_array(program: object) -> int:
    """Elements of the largest float32 array of a traced program."""
    shapes = re.findall(r"f32\[([\d,]+)\]", str(program))
    return max(math.prod(map(int, shape.split(","))) for shape in shapes)
