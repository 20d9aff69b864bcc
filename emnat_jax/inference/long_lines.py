"""Lines of more tokens than a model takes: divided into parts, cut, or refused; counted in any case."""

import dataclasses
import heapq
import sys
import types
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from emnat_jax.data.encode import encode_lines, shortened
from emnat_jax.data.text import is_blank
from emnat_jax.data.vocab import Vocabulary
from emnat_jax.errors import UserError, require
from emnat_jax.inference.segments import join, segments

WAYS = ("split", "cut", "error")
_SHOWN = 5
_OURS = ("emnat_jax", "jaxtyping", "beartype")  # the latter stand between where shapes are checked


@dataclasses.dataclass
class LongLines:
    """What becomes of lines of more tokens than a model takes; filled with the places (from 0) of such lines.

    how: "split": the line is translated in parts, which are sentences where they fit, else clauses, else
      words, and the translations are joined. "cut": what is past the limit is not translated. "error":
      UserError.
    """

    how: str = "split"
    split: list[int] = dataclasses.field(default_factory=list)
    within_words: list[int] = dataclasses.field(default_factory=list)  # of `split`: also inside a word
    cut: list[int] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        require(self.how in WAYS, f"long_lines={self.how!r}: choose one of {', '.join(WAYS)}.")


class TooLong(UserError):
    """A line of more tokens than a model takes, where that is refused."""

    def __init__(self, place: int, tokens: int, max_length: int):
        self.place = place
        self.about = f"{tokens} tokens, the model takes at most {max_length}"
        super().__init__(
            f'lines[{place}]: {self.about}; shorten the line, or give long_lines="split" or "cut".'
        )


class Part(NamedTuple):
    """What a model is given at once: a line, or a part of one."""

    place: int  # of the line
    tokens: np.ndarray  # i32[S], EOS included


class Ranked(NamedTuple):
    """A translation of a part or of a line."""

    text: str
    log_prob: float  # nats
    rank_score: float  # what the order goes by


def divide(lines: Sequence[str], vocabulary: Vocabulary, max_length: int, long: LongLines) -> list[Part]:
    """The parts of all lines that have words, in order; each has at most `max_length` tokens."""
    places = [place for place, line in enumerate(lines) if not is_blank(line)]
    encoded = encode_lines([lines[place] for place in places], vocabulary)
    parts = []
    for place, tokens in zip(places, encoded, strict=True):
        if len(tokens) <= max_length:
            parts.append(Part(place, tokens))
        else:
            parts += _divided(place, lines[place], tokens, vocabulary, max_length, long=long)
    return parts


def _divided(
    place: int, line: str, tokens: np.ndarray, vocabulary: Vocabulary, max_length: int, *, long: LongLines
) -> Iterator[Part]:
    if long.how == "error":
        raise TooLong(place, len(tokens), max_length)
    parts = [tokens]
    if long.how == "split":
        found = segments(line, lambda text: len(encode_lines([text], vocabulary)[0]) <= max_length)
        parts = encode_lines([part for part in found.parts if not is_blank(part)], vocabulary)
        long.split.append(place)
        long.within_words += [place] if found.in_word else []
    if any(len(part) > max_length for part in parts):
        long.cut.append(place)
    for part in parts:
        yield Part(place, shortened(part, max_length))


def combine(lists: Sequence[Sequence[Ranked]], count: int) -> list[Ranked]:
    """The `count` best translations of a line whose parts have these, without two that read the same.

    Log-probabilities and rank scores add up. A part without a translation adds nothing.
    """
    best = [Ranked("", 0.0, 0.0)]
    for found in filter(None, lists):
        pairs = (
            Ranked(join(a.text, b.text), a.log_prob + b.log_prob, a.rank_score + b.rank_score)
            for a in best
            for b in found
        )
        ordered = heapq.nlargest(count * count, pairs, key=lambda one: one.rank_score)
        distinct = {one.text: one for one in reversed(ordered)}
        best = [one for one in ordered if distinct[one.text] is one][:count]
    return best if any(lists) else []


def warn_of(places: Sequence[int], what: str) -> None:
    """A Python warning that counts lines, where there are any; it points at the caller of this package."""
    if not places:
        return
    first = ", ".join(map(str, places[:_SHOWN])) + (", ..." if len(places) > _SHOWN else "")
    frame: types.FrameType | None = sys._getframe()
    level = 1
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _OURS:
        frame, level = frame.f_back, level + 1
    warnings.warn(f"{len(places)} {what}; the first places: {first}.", stacklevel=level)
