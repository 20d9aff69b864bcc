"""Sentences by the number of tokens of their reference, as BLEU counts them."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from emnat_jax.config import Scoring
from emnat_jax.evaluation.bleu import corpus_bleu
from emnat_jax.evaluation.metrics import make_tokenizer

LENGTHS = ((1, 5), (6, 10), (11, 20), (21, 40), (41, 80), (81, None))  # tokens, first and last of a bucket


class LengthScores(TypedDict):
    """Quality of the sentences of one length, as report.json has it."""

    tokens: str  # as `bucket_name` gives it
    sentences: int
    bleu: dict[str, float]  # of each system


def buckets_of(references: Sequence[str], scoring: Scoring = Scoring()) -> list[int]:
    """The number of each reference's bucket in LENGTHS."""
    tokens = make_tokenizer(scoring)
    return [_bucket(len(tokens(reference))) for reference in references]


def _bucket(length: int) -> int:
    return next(place for place, (_, last) in enumerate(LENGTHS) if last is None or length <= last)


def bucket_name(place: int) -> str:
    """As a reader sees it, e.g. 6-10."""
    first, last = LENGTHS[place]
    return f"{first}+" if last is None else f"{first}-{last}"


def by_length(
    outputs: Mapping[str, Sequence[str]], references: Sequence[str], scoring: Scoring = Scoring()
) -> list[LengthScores]:
    """Corpus BLEU of each system on the sentences of each length bucket that has any."""
    found: list[LengthScores] = []
    for place, chosen in enumerate(_members(references, scoring)):
        if chosen:
            wanted = [[references[i] for i in chosen]]
            bleu = {
                name: corpus_bleu([lines[i] for i in chosen], wanted, scoring)
                for name, lines in outputs.items()
            }
            found.append(LengthScores(tokens=bucket_name(place), sentences=len(chosen), bleu=bleu))
    return found


def sample_over_lengths(references: Sequence[str], count: int, scoring: Scoring = Scoring()) -> list[int]:
    """Indices of about `count` sentences, equally many of each length, short ones first."""
    filled = [chosen for chosen in _members(references, scoring) if chosen]
    each = -(-count // max(len(filled), 1))
    return [i for chosen in filled for i in chosen[:: max(1, len(chosen) // max(each, 1))][:each]]


def _members(references: Sequence[str], scoring: Scoring) -> list[list[int]]:
    members: list[list[int]] = [[] for _ in LENGTHS]
    for index, place in enumerate(buckets_of(references, scoring)):
        members[place].append(index)
    return members
