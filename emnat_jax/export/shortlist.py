"""Shortlists: which words of the vocabulary the translation of a source may use."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from scipy import sparse

from emnat_jax.errors import require
from emnat_jax.tokens import NUM_SPECIAL, PAD

_BLOCK = 512  # words of the source whose co-occurrences are held at once
_LEAST_LISTS = 8  # lists of words that are together as long as the vocabulary, at least


class Shortlist(NamedTuple):
    """Ids by source; those of a sentence are the union of `always` and of its words' own."""

    always: np.ndarray  # i32[M]: special ids and the most frequent words
    by_source: np.ndarray  # i32[V, N]: words that go with each word of the source; else, and for PAD, PAD

    @property
    def per_word(self) -> int:
        """N."""
        return self.by_source.shape[1]

    def words(self, source: Integer[np.ndarray, " S"]) -> Integer[np.ndarray, " K"]:
        """The ids that the translation of a sentence may use, ascending."""
        return np.union1d(self.always, self.by_source[source])


def most_words(vocab_size: int) -> int:
    """The most for each word of the source, N, that a shortlist may have."""
    return max(1, vocab_size // _LEAST_LISTS)


def require_words(count: int, vocab_size: int) -> None:
    """UserError for a shortlist of none, and for one that would be of no use."""
    most = most_words(vocab_size)
    require(
        1 <= count <= most,
        f"--shortlist={count}: use 1 to {most}; with more, the lists of {_LEAST_LISTS} words of a sentence "
        f"would be as long as the vocabulary, {vocab_size}.",
    )


def learn_shortlist(pairs: Iterable[tuple[np.ndarray, np.ndarray]], vocab_size: int, count: int) -> Shortlist:
    """The `count` most frequent words, and for each word of the source the `count` that go with it best.

    That is, among words that occur together more often than by chance, those of the highest log-likelihood
    ratio (G squared; Dunning, Computational Linguistics 19(1), 1993), counted in pairs of sentences; lower
    ids first in ties. UserError where there are no pairs.
    """
    sides = [(np.unique(source), np.unique(target)) for source, target in pairs]
    require(bool(sides), "there are no pairs of sentences to learn a shortlist from; export without one.")
    source, target = (_occurrences(words, vocab_size) for words in zip(*sides, strict=True))
    frequency = np.asarray(target.sum(axis=0)).ravel()
    frequency[:NUM_SPECIAL] = 0
    frequent = np.argsort(-frequency, kind="stable")[:count]
    always = np.union1d(np.arange(NUM_SPECIAL), frequent[frequency[frequent] > 0]).astype(np.int32)
    target = target @ sparse.diags(~np.isin(np.arange(vocab_size), always) * 1.0)
    by_source = np.full((vocab_size, count), PAD, np.int32)
    for word, others, scores in _associations(source, target):
        best = others[np.argsort(-scores, kind="stable")[:count]]
        by_source[word, : len(best)] = best
    return Shortlist(always, by_source)


def random_shortlist(vocab_size: int, count: int, seed: int) -> Shortlist:
    """One of words drawn at random, to time models with random weights."""
    drawn = np.random.default_rng(seed).integers(NUM_SPECIAL, vocab_size, (vocab_size + 1, count), np.int32)
    drawn[PAD] = PAD
    return Shortlist(np.union1d(np.arange(NUM_SPECIAL), drawn[-1]).astype(np.int32), drawn[:-1])


def _occurrences(words: Sequence[np.ndarray], size: int) -> Any:
    """Sparse f64[pairs, V] of one side: 1 where the sentence has the word."""
    ends = np.cumsum([0, *map(len, words)])
    columns = np.concatenate(words)
    assert columns.max(initial=0) < size, "ids of the vocabulary, which SciPy does not check"
    return sparse.csr_matrix((np.ones(len(columns)), columns, ends), shape=(len(words), size))


def _associations(source: Any, target: Any) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(word of the source, words of the target in ascending order, the score of each)."""
    pairs = source.shape[0]
    in_source, in_target = (np.asarray(side.sum(axis=0)).ravel() for side in (source, target))
    columns = source.tocsc()
    for start in range(0, len(in_source), _BLOCK):
        together = (columns[:, start : start + _BLOCK].T @ target).tocsr()
        together.eliminate_zeros()
        together.sort_indices()
        for row in range(together.shape[0]):
            part = slice(*together.indptr[row : row + 2])
            words, both = together.indices[part], together.data[part]
            one, other = in_source[start + row], in_target[words]
            more_than_chance = both * pairs > one * other
            score = log_likelihood_ratio(both, one, other, pairs)
            yield start + row, words[more_than_chance], score[more_than_chance]


def log_likelihood_ratio(
    both: Float[np.ndarray, " n"], one: float, other: Float[np.ndarray, " n"], pairs: int
) -> Float[np.ndarray, " n"]:
    """Half of G squared of the 2 x 2 tables of two words: pairs with both, with each, and all pairs."""
    observed = np.stack([both, one - both, other - both, pairs - one - other + both])
    expected = np.stack(
        [one * other, one * (pairs - other), (pairs - one) * other, (pairs - one) * (pairs - other)]
    )
    ratio = np.where(observed > 0, observed * pairs / np.maximum(expected, 1), 1)
    return (observed * np.log(ratio)).sum(axis=0)
