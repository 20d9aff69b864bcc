"""How outputs are compared with references: the tokens that are counted, and whether case matters."""

import dataclasses

# Of sacreBLEU, those that need no download. ja-mecab and ko-mecab come with the extras `ja` and `ko`.
TOKENIZERS = ("13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "none")
UNSPACED = ("zh", "ja-mecab", "char")  # for text whose words no spaces part

_BY_LANGUAGE = {
    "zh": "zh zho chi cmn yue wuu nan hak gan hsn lzh chinese mandarin cantonese cn",
    "ja-mecab": "ja jpn japanese jp",
    "ko-mecab": "ko kor korean",
    # Thai, Lao, Khmer, Burmese, Shan, Mon, Northern Thai, Tai Lue, Tibetan, Dzongkha
    "char": "th tha thai lo lao km khm khmer my mya bur burmese shn mnw nod khb bo bod tib tibetan dz dzo",
}
_TOKENIZER_OF = {name: tokenizer for tokenizer, names in _BY_LANGUAGE.items() for name in names.split()}
_SPACED_SCRIPTS = ("latn", "cyrl", "pinyin")  # in which such a language is spelt with spaces, e.g. nan-Latn


@dataclasses.dataclass(frozen=True)
class Scoring:
    """What decides a score, beside outputs and references; the signature of each score says it."""

    tokenizer: str = "13a"  # one of TOKENIZERS
    lowercase: bool = False  # upper and lower case are the same
    ter: bool = False  # also the translation edit rate, which takes long


def tokenizer_for(language: str) -> str:
    """The tokenizer for a target language, given as a code (zh, zh-TW, zho_Hans, ISO 639) or in English.

    13a, which cuts at spaces and punctuation, for all that are not known to need another.
    """
    name, *subtags = language.lower().replace("_", "-").split("-")
    if any(subtag in _SPACED_SCRIPTS for subtag in subtags):
        return "13a"
    return _TOKENIZER_OF.get(name, "13a")
