"""Text cut into parts that a model takes: at ends of sentences, else of clauses, else between words."""

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import NamedTuple

Fits = Callable[[str], bool]

# Quotes and brackets that close: Latin, then of Chinese and Japanese.
_CLOSING = "[\"')\\]\u2019\u201d\u00bb\u203a\u300d\u300f\u3011\u300b\u3009\uff09]*"
# Marks that end a sentence without a space behind them: Chinese and Japanese, Arabic and Urdu, Hindi,
# Armenian, Ethiopic, Burmese, Khmer, double marks.
_FULL = "\u3002\uff01\uff1f\uff61\u061f\u06d4\u0964\u0965\u0589\u1362\u104b\u17d4\u203c\u2047\u2048\u2049"
# The same of clauses: Chinese and Japanese, Arabic, Ethiopic, Burmese.
_HALF = "\u3001\uff0c\uff1b\uff1a\u060c\u061b\u1363\u1364\u104a"
_STOP, _PAUSE = ".!?\u2026", ".!?\u2026,;:\u2013\u2014"  # these with a space behind them
# Only from the first of several marks on: tried from each, a row of dots takes quadratic time.
_SENTENCE = re.compile(f"[{_FULL}]+{_CLOSING}|(?<![{_STOP}])[{_STOP}]+{_CLOSING}(?=\\s)")
_CLAUSE = re.compile(f"[{_HALF}]+{_CLOSING}|(?<![{_PAUSE}])[{_PAUSE}]+{_CLOSING}(?=\\s)")
_WORD = re.compile(r"\s+")
# A full stop behind these ends no sentence: numbers, single letters, titles.
_ABBREVIATION = re.compile(r"(?:\b[^\W\d_]|\d|\b(?:Dr|Mr|Ms|Mrs|St|Nr|No|vs|bzw|ca|Prof))\.$")
_JOINER = "\u200d"
# Scripts that are written without spaces: Chinese and Japanese with their punctuation, full-width forms.
_UNSPACED = re.compile(
    "[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
)


class Segments(NamedTuple):
    """The parts of a line, in order."""

    parts: list[str]
    in_word: bool  # whether a word, or a sentence of a script without spaces, had to be divided


def segments(text: str, fits: Fits) -> Segments:
    """The text in parts that fit: sentences; of a longer one as many clauses, then words, as fit in each.

    What has none of these ends is divided between characters, never within one of several code points. A
    part of one character may not fit.
    """
    divided: list[str] = []

    def cut(piece: str, levels: tuple[Callable[[str], Iterator[str]], ...]) -> list[str]:
        if fits(piece):
            return [piece]
        if not levels:
            divided.append(piece)
            return list(_characters(piece, fits))
        smaller = [part for found in levels[0](piece) for part in cut(found, levels[1:])]
        return smaller if levels[0] is _sentences else _joined(smaller, fits)

    parts = cut(text, (_sentences, _clauses, _words))
    return Segments([part.strip() for part in parts], bool(divided))


def join(left: str, right: str) -> str:
    """Two translations as one text: a space between them, but not beside a script that has none."""
    if not left or not right:
        return left or right
    both = _UNSPACED.match(left[-1]) or _UNSPACED.match(right[0])
    return f"{left}{right}" if both else f"{left} {right}"


def _sentences(text: str) -> Iterator[str]:
    has_capitals = text != text.lower()
    return _cut_behind(text, _SENTENCE, lambda end: not _goes_on(text, end, has_capitals))


def _clauses(text: str) -> Iterator[str]:
    return _cut_behind(text, _CLAUSE)


def _words(text: str) -> Iterator[str]:
    return _cut_behind(text, _WORD)


def _cut_behind(
    text: str, pattern: re.Pattern[str], is_end: Callable[[int], bool] = lambda end: True
) -> Iterator[str]:
    """The text cut behind each match that is an end."""
    begin = 0
    for match in pattern.finditer(text):
        if is_end(match.end()):
            yield text[begin : match.end()]
            begin = match.end()
    if begin < len(text):
        yield text[begin:]


def _goes_on(text: str, end: int, has_capitals: bool) -> bool:
    """Whether the sentence goes on behind a mark: it was an abbreviation's, or a small letter follows.

    The latter says nothing where all letters are small.
    """
    following = text[end : end + 8].lstrip()
    is_small = has_capitals and following[:1].islower()
    return is_small or bool(_ABBREVIATION.search(text[max(0, end - 8) : end]))


def _joined(parts: list[str], fits: Fits) -> list[str]:
    """Neighbours put together again as far as they fit."""
    found: list[str] = []
    for part in parts:
        if found and fits(found[-1] + part):
            found[-1] += part
        else:
            found.append(part)
    return found


def _characters(text: str, fits: Fits) -> Iterator[str]:
    begin = 0
    while begin < len(text):
        size = _most(text, begin, fits)
        yield text[begin : begin + size]
        begin += size


def _most(text: str, begin: int, fits: Fits) -> int:
    """How many characters from `begin` on fit, at least one, up to the end of a whole one."""
    size = 1
    while begin + size < len(text) and fits(text[begin : begin + 2 * size]):
        size *= 2
    low, high = size, min(2 * size, len(text) - begin + 1)  # `low` fits, `high` does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(text[begin : begin + middle]) else (low, middle)
    whole = low
    while whole > 1 and _is_within(text, begin + whole):
        whole -= 1
    return whole if whole > 1 or not _is_within(text, begin + 1) else low


def _is_within(text: str, place: int) -> bool:
    """Whether a cut at this place would part a character from its marks, or an emoji that is several."""
    if place >= len(text):
        return False
    following = text[place]
    return (
        unicodedata.category(following).startswith("M")
        or following == _JOINER
        or text[place - 1] == _JOINER
        or "\U0001f3fb" <= following <= "\U0001f3ff"  # skin tones
    )
