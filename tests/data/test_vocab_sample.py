"""The lines that a vocabulary is trained on."""

import itertools
import random

import numpy as np
import pytest

from emnat_jax.data import vocab_sample
from emnat_jax.data.corpora import Corpus
from emnat_jax.data.held_out import HeldOut
from emnat_jax.data.scan import Reading, scan
from emnat_jax.data.text import TextPair
from emnat_jax.data.vocab_sample import collect_sample, sample_part, sampled


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


@pytest.mark.parametrize("count", [1, 13, 60, 10_000])
def test_of_a_text_it_is_taken_from_the_usable_pairs(monkeypatch, count):
    """Empty lines and a valid split that is cut off are left out, whatever the chunks."""
    monkeypatch.setattr(vocab_sample, "MAX_LINES", count)
    texts = [(f"s{i % 17}" if i % 5 else "", f"t{i}") for i in range(60)]
    corpus = Corpus("train", lambda: (TextPair(i, *pair) for i, pair in enumerate(texts)))
    reading = Reading(size=7)
    found = scan(corpus, "train", reading, HeldOut(5))
    usable = [(pair.source, pair.target) for pair in corpus if found.reason(pair) is None]
    lines = list(itertools.chain.from_iterable(usable))
    assert 0 < len(lines) < 2 * 48  # there are lines of both kinds
    expected = [lines[i] for i in algorithm_r(len(lines), count)]
    assert collect_sample(sample_part(corpus, found, reading), found) == expected


def test_a_large_text_is_sampled_evenly():
    numbers = sampled(20_000, 1_000)
    assert len(set(numbers.tolist())) == 1_000
    # Means of 1000 draws without replacement from 0..19999 have a standard error of 178.
    assert abs(numbers.mean() - 9_999.5) < 4 * 178
    assert abs(np.mean(numbers % 2) - 0.5) < 4 * 0.016  # source and target lines alternate
