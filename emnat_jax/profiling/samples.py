"""What systems translate under the clock: lines of text with their references, or tokens alone."""

import abc
import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from emnat_jax.config import Scoring
from emnat_jax.data.encode import encode_lines
from emnat_jax.data.pairs import Pairs
from emnat_jax.data.vocab import Vocabulary
from emnat_jax.evaluation.bleu import corpus_bleu, signed_bleu
from emnat_jax.inference.candidates import Candidates
from emnat_jax.inference.sentences import sentence_pairs
from emnat_jax.inference.translator import Translator


class Sample(abc.ABC):
    """Sources in a fixed order; `places` name some of them. Outputs are what a call gives, one a place."""

    lengths: Sequence[int]  # tokens of each source, EOS included

    @abc.abstractmethod
    def call(self, model: Translator, places: Sequence[int], candidates: int = 1) -> Callable[[], list[Any]]:
        """What translates the sources at these places and returns an output for each."""

    @abc.abstractmethod
    def pairs(self, model: Translator) -> Pairs:
        """All sources as `model` takes them, cut where they are too long for it."""

    @abc.abstractmethod
    def target_tokens(self, outputs: Sequence[Any]) -> int:
        """Tokens of the best translations, EOS included."""

    @abc.abstractmethod
    def bleu(self, outputs: Sequence[Any]) -> float | None:
        """Of outputs for all sources, in their order; None where there are no references."""

    @property
    @abc.abstractmethod
    def bleu_signature(self) -> str | None:
        """How BLEU is computed."""


@dataclasses.dataclass(frozen=True)
class TextSample(Sample):
    """Raw lines to raw lines: segmentation and detokenisation are inside a call."""

    sources: Sequence[str]
    references: Sequence[str]
    lengths: Sequence[int]
    vocabulary: Vocabulary  # by which all systems' outputs are counted
    scoring: Scoring = Scoring()

    def call(self, model: Translator, places: Sequence[int], candidates: int = 1) -> Callable[[], list[str]]:
        assert candidates == 1, "a line of text has one translation here"
        lines = [self.sources[place] for place in places]
        return lambda: model.translate(lines)

    def pairs(self, model: Translator) -> Pairs:
        return sentence_pairs(encode_lines(self.sources, model.vocabulary, model.max_length))

    def target_tokens(self, outputs: Sequence[str]) -> int:
        return sum(len(tokens) for tokens in encode_lines(outputs, self.vocabulary))

    def bleu(self, outputs: Sequence[str]) -> float:
        return corpus_bleu(list(outputs), [list(self.references)], self.scoring)

    @property
    def bleu_signature(self) -> str:
        references = list(self.references)
        return signed_bleu(references, [references], self.scoring)[1]


def text_sample(
    vocabulary: Vocabulary,
    max_length: int,
    sources: Sequence[str],
    references: Sequence[str],
    scoring: Scoring = Scoring(),
) -> TextSample:
    """The lines, with their lengths as models of this vocabulary have them that take so many tokens."""
    tokens = encode_lines(sources, vocabulary, max_length)
    return TextSample(sources, references, [len(line) for line in tokens], vocabulary, scoring)


@dataclasses.dataclass(frozen=True)
class TokenSample(Sample):
    """Tokens to tokens, as `emnat distill` translates; a source may have several translations."""

    sources: Sequence[np.ndarray]  # each i32[S] with EOS

    @property
    def lengths(self) -> Sequence[int]:  # type: ignore[override]
        return [len(source) for source in self.sources]

    def call(
        self, model: Translator, places: Sequence[int], candidates: int = 1
    ) -> Callable[[], list[Candidates]]:
        pairs = sentence_pairs([self.sources[place] for place in places])
        return lambda: model.decode(pairs, candidates)

    def pairs(self, model: Translator) -> Pairs:
        return sentence_pairs(self.sources)

    def target_tokens(self, outputs: Sequence[Candidates]) -> int:
        return sum(len(found.tokens[0]) for found in outputs if found.tokens)

    def bleu(self, outputs: Sequence[Candidates]) -> None:
        return None

    @property
    def bleu_signature(self) -> None:
        return None


def token_sample(pairs: Pairs) -> TokenSample:
    """The sources of a data set."""
    bounds = itertools.pairwise(pairs.source_offsets)
    return TokenSample([pairs.source_tokens[begin:end].astype(np.int32) for begin, end in bounds])
