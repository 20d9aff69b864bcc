"""Sentences by the number of words of their reference."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from emnat_jax.evaluation.bleu import corpus_bleu

LENGTHS = ((1, 5), (6, 10), (11, 20), (21, None))  # words, first and last of a bucket


class LengthScores(TypedDict):
    """Quality of the sentences of one length, as report.json has it."""

    words: str  # as `bucket_name` gives it
    sentences: int
    bleu: dict[str, float]  # of each system


def bucket_of(reference: str) -> int:
    """The number of the bucket in LENGTHS."""
    words = max(1, len(reference.split()))
    return next(place for place, (_, last) in enumerate(LENGTHS) if last is None or words <= last)


def bucket_name(place: int) -> str:
    """As a reader sees it, e.g. 6-10."""
    first, last = LENGTHS[place]
    return f"{first}+" if last is None else f"{first}-{last}"


def by_length(outputs: Mapping[str, Sequence[str]], references: Sequence[str]) -> list[LengthScores]:
    """Corpus BLEU of each system on the sentences of each length bucket that has any."""
    found: list[LengthScores] = []
    for place, chosen in enumerate(_members(references)):
        if chosen:
            wanted = [[references[i] for i in chosen]]
            bleu = {name: corpus_bleu([lines[i] for i in chosen], wanted) for name, lines in outputs.items()}
            found.append(LengthScores(words=bucket_name(place), sentences=len(chosen), bleu=bleu))
    return found


def sample_over_lengths(references: Sequence[str], count: int) -> list[int]:
    """Indices of about `count` sentences, equally many of each length, short ones first."""
    filled = [chosen for chosen in _members(references) if chosen]
    each = -(-count // max(len(filled), 1))
    return [i for chosen in filled for i in chosen[:: max(1, len(chosen) // max(each, 1))][:each]]


def _members(references: Sequence[str]) -> list[list[int]]:
    members: list[list[int]] = [[] for _ in LENGTHS]
    for index, reference in enumerate(references):
        members[bucket_of(reference)].append(index)
    return members
