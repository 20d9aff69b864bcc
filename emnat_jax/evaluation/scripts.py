"""Which texts are written without spaces between words, by the script of their letters."""

import collections
from collections.abc import Iterable

from emnat_jax.config import Scoring, tokenizer_for

# Script -> (language that is written in it, first and last code points). Hangul is not here: it has spaces.
_SCRIPTS = {
    "Kana": ("ja", ((0x3041, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9D))),
    "Han": ("zh", ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF))),
    "Thai": ("th", ((0x0E00, 0x0E7F),)),
    "Lao": ("lo", ((0x0E80, 0x0EFF),)),
    "Tibetan": ("bo", ((0x0F00, 0x0FFF),)),
    "Burmese": ("my", ((0x1000, 0x109F), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F))),
    "Khmer": ("km", ((0x1780, 0x17FF), (0x19E0, 0x19FF))),
}
_MOST_SPACES = 0.2  # for each letter; text that was cut into words before has more
_LEAST_KANA = 0.1  # of the Chinese characters and kana of a text: Japanese has far more, Chinese none


def unspaced_language(lines: Iterable[str | None]) -> str | None:
    """A language without spaces whose script most letters of the text are of; None for any other text.

    None as well for text that spaces part all the same, as after word segmentation. Chinese and Japanese
    share characters; kana tell them apart.
    """
    letters = collections.Counter(character for line in lines for character in line or "")
    count: collections.Counter[str] = collections.Counter()
    for character, times in letters.items():
        if character.isalpha() or _script(character):
            count[_script(character) or "other"] += times
    spaces = sum(times for character, times in letters.items() if character.isspace())
    if 2 * count["other"] >= count.total() or spaces > _MOST_SPACES * count.total():
        return None
    if count["Kana"] > _LEAST_KANA * (count["Kana"] + count["Han"]):
        count["Kana"] += count.pop("Han", 0)
    del count["other"]
    return _SCRIPTS[max(count, key=lambda script: count[script])][0]


def better_tokenizer(references: Iterable[str | None], scoring: Scoring) -> str | None:
    """The tokenizer for references without spaces where 13a, which cuts at spaces, would be taken."""
    language = unspaced_language(references) if scoring.tokenizer == Scoring.tokenizer else None
    return tokenizer_for(language) if language else None


def _script(character: str) -> str | None:
    code = ord(character)
    for name, (_, ranges) in _SCRIPTS.items():
        if any(first <= code <= last for first, last in ranges):
            return name
    return None
