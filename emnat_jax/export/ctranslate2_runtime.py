"""An exported teacher under CTranslate2: no JAX is imported."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from emnat_jax.data.pairs import Pairs
from emnat_jax.errors import UserError, require
from emnat_jax.export.folder import Exported, chosen_precision
from emnat_jax.export.packages import need
from emnat_jax.export.translator import ExportedTranslator
from emnat_jax.inference.candidates import Candidates
from emnat_jax.inference.sentences import sentence_pairs
from emnat_jax.tokens import EOS, NEG_INF, is_impossible

BATCH_TOKENS = 512  # of the sources of a batch, padding counted
CHUNK_HYPOTHESES = 200_000  # at most, in memory before the best of them are picked
_NO_PENALTY = 1e-9  # as good as 0, with which CTranslate2 would end at its first hypothesis


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class CTranslate2Translator(ExportedTranslator):
    """A teacher that CTranslate2 runs on a CPU.

    Greedy search is that of `families.ar`. Beam search keeps the same prefixes alive up to the same limit and
    ranks by the same score (docs/method.md, section 10.2), but it finishes a prefix only where EOS is among
    the K best continuations of all. Lists of a trained teacher hardly differ; those of one that is never sure
    of the end of a sentence do, and lack better ones that ours has, never the other way round. A source
    without words has no candidates.
    """

    model: Any  # ctranslate2.Translator
    pieces: list[str]
    ids: dict[str, int]
    # A beam of K ends with this many times K finished hypotheses, whatever could still come; None: at the
    # limit, or when nothing is alive.
    patience: float | None = None
    batch_tokens: int = BATCH_TOKENS

    @property
    def batch_rows(self) -> int:
        return self.batch_tokens

    def decode(self, pairs: Pairs, num_candidates: int = 1) -> list[Candidates]:
        """The best `num_candidates` translations of every source, in the order of the data set."""
        self._require_short(pairs)
        beam = max(num_candidates, self._options.beam)
        sources = _split(pairs.source_tokens, pairs.source_offsets)
        found: dict[int, Candidates] = {}
        for limit, rows in self._by_limit(pairs.source_lengths):
            size = max(CHUNK_HYPOTHESES // (beam * limit), 1)
            for begin in range(0, len(rows), size):
                chunk = rows[begin : begin + size]
                decoded = self._decode([sources[row] for row in chunk], num_candidates, limit)
                found.update(zip(chunk, decoded, strict=True))
        return [found[row] for row in range(pairs.size)]

    def score_pairs(self, pairs: Pairs) -> np.ndarray:
        """log p(target | source) f32[n] in nats, in the order of the data set.

        UserError for a source without words.
        """
        self._require_short(pairs)
        empty = np.flatnonzero(pairs.source_lengths <= 1)
        require(
            not len(empty),
            f"{len(empty)} sources are empty (rows {pairs.row[empty[:3]].tolist()}): CTranslate2 has no "
            "scores for them; leave them out, or score with the trained model.",
        )
        sources = _split(pairs.source_tokens, pairs.source_offsets)
        targets = _split(pairs.target_tokens, pairs.target_offsets)
        log_prob = np.full(pairs.size, NEG_INF, np.float32)
        fits = np.flatnonzero(pairs.target_lengths <= self.max_length).tolist()
        scored = self.model.score_batch(
            [self._named(sources[row]) for row in fits],
            [self._named(targets[row][:-1]) for row in fits],  # it adds EOS
            max_batch_size=self.batch_tokens,
            batch_type="tokens",
            max_input_length=0,
        )
        for row, one in zip(fits, scored, strict=True):
            # EOS at the last position that there is is certain.
            log_prob[row] = sum(one.log_probs[: self.max_length - 1])
        return log_prob

    @property
    def _options(self) -> Any:
        """AROptions."""
        return self.config.options

    def _by_limit(self, lengths: np.ndarray) -> Iterator[tuple[int, list[int]]]:
        """(most tokens of an output, the rows of which that is so): as for sources padded to their bucket."""
        buckets = np.array(sorted(self.exported.about.buckets))
        place = np.searchsorted(buckets, lengths)
        widths = np.where(place < len(buckets), buckets[np.minimum(place, len(buckets) - 1)], lengths)
        for width in np.unique(widths).tolist():
            limit = self.config.transformer.output_length(width)
            yield limit, np.flatnonzero(widths == width).tolist()

    def _decode(self, sources: list[np.ndarray], count: int, limit: int) -> list[Candidates]:
        """The best `count` of each source, for outputs of at most `limit` tokens."""
        beam = max(count, self._options.beam)
        found = [self._open_ones_needed(of_row, count) for of_row in self._search(sources, beam, limit)]
        to_score = [
            (place, index)
            for place, of_row in enumerate(found)
            for index, one in enumerate(of_row)
            if not one.ended
        ]
        pairs = sentence_pairs(
            [sources[place] for place, _ in to_score], [found[place][i].tokens for place, i in to_score]
        )
        for (place, index), log_prob in zip(to_score, self.score_pairs(pairs), strict=True):
            found[place][index] = found[place][index]._replace(log_prob=float(log_prob))
        return [self._ranked(of_row, count) for of_row in found]

    def _search(self, sources: list[np.ndarray], beam: int, limit: int) -> Iterator[list["_Found"]]:
        """All that a search finishes, of each source."""
        patience = self.patience or float(limit)
        results = self.model.translate_batch(
            [self._named(source) for source in sources],
            beam_size=beam,
            patience=patience if beam > 1 else 1.0,
            num_hypotheses=round(beam * patience) if beam > 1 else 1,
            length_penalty=_NO_PENALTY if beam > 1 else 0.0,  # scores are log-probabilities; we rank
            return_scores=True,
            min_decoding_length=0,
            max_decoding_length=max(limit - 1, 1),  # EOS is ours at the last position
            max_input_length=0,
            max_batch_size=self.batch_tokens,
            batch_type="tokens",
        )
        for source, result in zip(sources, results, strict=True):
            hypotheses = zip(result.hypotheses, result.scores, strict=True) if len(source) > 1 else ()
            yield [self._found(words[: limit - 1], score, limit) for words, score in hypotheses]

    def _found(self, words: list[str], log_prob: float, limit: int) -> "_Found":
        tokens = np.array([*map(self.ids.__getitem__, words), EOS], np.int32)
        return _Found(tokens, log_prob, len(tokens) < limit)

    def _open_ones_needed(self, found: list["_Found"], count: int) -> list["_Found"]:
        """Without those that are not ended and that, were EOS certain, are not among the best `count`."""
        ranks = sorted((self._rank(one) for one in found if one.ended), reverse=True)
        least = ranks[count - 1] if len(ranks) >= count else -np.inf
        return [one for one in found if one.ended or self._rank(one) > least]

    def _rank(self, found: "_Found") -> float:
        return found.log_prob / ((5 + len(found.tokens)) / 6) ** self._options.length_penalty

    def _ranked(self, found: Sequence["_Found"], count: int) -> Candidates:
        """The best `count` of one source, best first."""
        possible = [one for one in found if not is_impossible(one.log_prob)]
        best = sorted(possible, key=self._rank, reverse=True)[:count]
        log_prob = np.array([one.log_prob for one in best], np.float32)
        rank_score = np.array([self._rank(one) for one in best], np.float32)
        return Candidates([one.tokens for one in best], log_prob, rank_score)

    def _named(self, tokens: np.ndarray) -> list[str]:
        return [self.pieces[token] for token in tokens.tolist()]

    def _require_short(self, pairs: Pairs) -> None:
        """UserError for sources that are longer than the model takes."""
        long = np.flatnonzero(pairs.source_lengths > self.max_length)
        if len(long):
            raise UserError(
                f"{len(long)} sources have more than {self.max_length} tokens, the first that of row "
                f"{pairs.row[long[0]]}; shorten them, or export a model trained with wider data.buckets."
            )


class _Found(NamedTuple):
    """A hypothesis."""

    tokens: np.ndarray  # i32[T], EOS included
    log_prob: float  # nats, summed; without EOS where it is not `ended`
    ended: bool  # by EOS before the limit


def open_ctranslate2(
    exported: Exported, precision: str | None = None, threads: int = 0
) -> CTranslate2Translator:
    """The teacher of a folder; `threads` batches are translated side by side, 0: one for each core."""
    ctranslate2 = need("ctranslate2")
    chosen = chosen_precision(exported.about, precision)
    model = ctranslate2.Translator(
        str(exported.directory),
        compute_type=chosen,
        inter_threads=threads or os.cpu_count() or 1,
        intra_threads=1,  # threads within a product gain less, and lose on a machine that is not idle
    )
    pieces = exported.vocabulary.pieces()
    return CTranslate2Translator(exported, chosen, model, pieces, dict(zip(pieces, range(len(pieces)))))


def _split(tokens: np.ndarray, offsets: np.ndarray) -> list[np.ndarray]:
    """The sequences that lie one after the other in `tokens`."""
    return np.split(tokens, offsets[1:-1])
