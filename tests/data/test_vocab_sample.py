"""The lines that a vocabulary is trained on."""

import random

import numpy as np
import pytest

from emnat_jax.data import vocab_sample
from emnat_jax.data.vocab_sample import sampled


def algorithm_r(total: int, count: int) -> list[int]:
    """Vitter's algorithm R, a line at a time."""
    rng, kept = random.Random(0), []
    for line in range(total):
        if line < count:
            kept.append(line)
        elif (place := int(rng.random() * (line + 1))) < count:
            kept[place] = line
    return kept


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("total", "count"), [(0, 3), (3, 5), (5, 5), (6, 5), (1, 1), (2_000, 10), (300, 299)]
)
def test_the_sample_is_that_of_algorithm_r(monkeypatch, total, count, block):
    monkeypatch.setattr(vocab_sample, "_BLOCK", block)
    assert sampled(total, count).tolist() == algorithm_r(total, count)


def test_a_large_text_is_sampled_evenly():
    numbers = sampled(20_000, 1_000)
    assert len(set(numbers.tolist())) == 1_000
    # Means of 1000 draws without replacement from 0..19999 have a standard error of 178.
    assert abs(numbers.mean() - 9_999.5) < 4 * 178
    assert abs(np.mean(numbers % 2) - 0.5) < 4 * 0.016  # source and target lines alternate
