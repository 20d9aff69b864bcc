"""Lines of text to translations, whatever searches: long lines, n-best lists, texts that read the same."""

import abc
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from emnat_jax.config import ModelSpec
from emnat_jax.config.convert import to_dict
from emnat_jax.data.encode import encode_lines
from emnat_jax.data.pairs import Pairs
from emnat_jax.data.vocab import Vocabulary
from emnat_jax.errors import UserError, require
from emnat_jax.inference.candidates import Candidates
from emnat_jax.inference.long_lines import LongLines, Part, Ranked, combine, divide, warn_of
from emnat_jax.inference.sentences import as_lines, sentence_pairs
from emnat_jax.tokens import is_impossible


class Translation(NamedTuple):
    """One translation of a line."""

    text: str
    # Nats, summed over the sentence, EOS included; the model's own, whoever ranked it. Of a line that was
    # split: the sum over its parts.
    log_prob: float


class Passes(NamedTuple):
    """What a teacher that checks drafts has taken for some sources."""

    sources: int
    tokens: int  # of the outputs, EOS included: as many passes as its greedy search takes
    passes: int  # of the teacher

    @property
    def of_a_sentence(self) -> float:
        """Passes, mean."""
        return self.passes / max(1, self.sources)

    @property
    def tokens_of_one(self) -> float:
        """Tokens that a pass gives, its own one included, mean."""
        return self.tokens / max(1, self.passes)


class Translator(abc.ABC):
    """What translates lines of plain text, one sentence each; a model is what it does with tokens."""

    vocabulary: Vocabulary
    fingerprint: str  # of the parameters

    @property
    @abc.abstractmethod
    def config(self) -> ModelSpec:
        """Its family, sizes and decoding options."""

    @property
    @abc.abstractmethod
    def max_length(self) -> int:
        """The most tokens of a sentence, EOS included."""

    @abc.abstractmethod
    def decode(self, pairs: Pairs, num_candidates: int = 1) -> list[Candidates]:
        """The best `num_candidates` translations of every source, in the order of the data set."""

    @property
    @abc.abstractmethod
    def batch_rows(self) -> int:
        """The most sources that this process decodes in one batch."""

    def decoding_options(self) -> dict[str, Any]:
        """The options that decide its outputs, as a manifest has them."""
        options = {"family": self.config.family, "extra_length": self.config.transformer.extra_length}
        return options | to_dict(self.config.options)

    @abc.abstractmethod
    def made_from(self) -> dict[str, Any]:
        """What its outputs depend on: parameters, decoding, chooser, precision; JSON."""

    def translate(self, lines: Iterable[str], *, long_lines: str | LongLines = "split") -> list[str]:
        """The best translation of each line; an empty one for a line without words.

        `long_lines`: what becomes of a line of more tokens than the model takes (`max_length`): "split"
        translates it in parts, at ends of sentences where it can; "cut" leaves out what is past the limit;
        "error" raises UserError. A warning then counts such lines; a `LongLines` in its place is filled with
        where they are.
        """
        return [found[0].text if found else "" for found in self._best(lines, 1, long_lines)]

    def n_best(
        self, lines: Iterable[str], count: int, *, long_lines: str | LongLines = "split"
    ) -> list[list[Translation]]:
        """At most `count` different translations of each line, best first; none for a line without words.

        They are in the order of the family's `rank_score`, log-probability after its length penalty.
        `long_lines` is as in `translate`; of a line in parts they are the best combinations.
        """
        require(count >= 1, f"n_best: count={count}; ask for 1 or more.")
        found = self._best(lines, count, long_lines)
        return [[Translation(one.text, one.log_prob) for one in ranked] for ranked in found]

    def score(
        self, sources: Iterable[str], targets: Iterable[str], *, too_long: list[int] | None = None
    ) -> np.ndarray:
        """log p(target | source) of pairs of lines: f32[n], in nats, summed over the sentence, EOS included.

        Neither normalised by length nor changed by a teacher. -inf for a target that the model cannot
        produce, and for a pair of which a side has more tokens than the model takes; a warning counts the
        latter, or `too_long` is extended by their places. Raises UserError for unequal numbers of lines.
        """
        sources, targets = as_lines("sources", sources), as_lines("targets", targets)
        require(
            len(sources) == len(targets), f"{len(sources)} sources but {len(targets)} targets; give as many."
        )
        sides = [encode_lines(lines, self.vocabulary) for lines in (sources, targets)]
        fits = np.array([max(map(len, pair)) <= self.max_length for pair in zip(*sides)], bool)
        places = np.flatnonzero(~fits).tolist()
        if too_long is None:
            warn_of(places, f"pairs have more than {self.max_length} tokens and the score -inf")
        else:
            too_long += places
        log_prob = np.full(len(sources), -np.inf, np.float32)
        fitting = [[side[place] for place in np.flatnonzero(fits)] for side in sides]
        log_prob[fits] = self.score_pairs(sentence_pairs(*fitting))
        return np.where(is_impossible(log_prob), np.float32(-np.inf), log_prob)

    def score_pairs(self, pairs: Pairs) -> np.ndarray:
        """log p(target | source) f32[n] in nats, in the order of the data set.

        UserError of a model that gives none.
        """
        raise UserError(f"{self!r} gives no log-probabilities; take the trained model, in its workdir.")

    def count_passes(self, pairs: Pairs) -> Passes | None:
        """The passes that translating these sources takes; None of a model that checks no drafts."""
        return None

    def sampling(self, temperature: float, seed: int) -> "Translator":
        """The same, whose `decode` gives so many draws from the model; equal sources have equal draws.

        Tokens are drawn from p^(1/temperature) (docs/method.md, section 10.2.1). UserError of a model that
        draws none.
        """
        raise UserError(f"{self!r} draws no samples; take the trained model, in its workdir.")

    def _divide(self, lines: Sequence[str], long_lines: str | LongLines) -> list[Part]:
        """What the model is given; with a warning for a caller who gave nothing to fill."""
        long = long_lines if isinstance(long_lines, LongLines) else LongLines(long_lines)
        parts = divide(lines, self.vocabulary, self.max_length, long)
        if long is not long_lines:
            over = f"lines have more than {self.max_length} tokens and"
            warn_of(long.split, f"{over} were translated in parts")
            warn_of(long.cut, f"{over} were cut")
        return parts

    def _best(self, lines: Iterable[str], count: int, long_lines: str | LongLines) -> list[list[Ranked]]:
        """At most `count` different translations of each line, best first."""
        lines = as_lines("lines", lines)
        parts = self._divide(lines, long_lines)
        found: list[list[list[Ranked]]] = [[] for _ in lines]  # of each line, of each part
        decoded = self.decode(sentence_pairs([part.tokens for part in parts]), count)
        for part, candidates in zip(parts, decoded, strict=True):
            found[part.place].append(self._texts(candidates))
        return [of_line[0] if len(of_line) == 1 else combine(of_line, count) for of_line in found]

    def _texts(self, candidates: Candidates) -> list[Ranked]:
        """Those that read differently, best first."""
        found: dict[str, Ranked] = {}
        for tokens, log_prob, rank_score in zip(*candidates, strict=True):
            text = self.vocabulary.decode(tokens)
            found.setdefault(text, Ranked(text, float(log_prob), float(rank_score)))
        return list(found.values())
