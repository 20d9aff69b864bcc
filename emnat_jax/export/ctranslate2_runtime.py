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
from emnat_jax.inference.line_scores import score_lines
from emnat_jax.inference.sentences import sentence_pairs
from emnat_jax.tokens import EOS, NEG_INF, is_impossible

BATCH_TOKENS = 1_024  # of the sources of a batch, padding counted
PATIENCE = 2.0  # a beam of K ends with this many times K finished hypotheses
_NO_PENALTY = 1e-9  # as good as 0, with which CTranslate2 would end at its first hypothesis


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class CTranslate2Translator(ExportedTranslator):
    """A teacher that CTranslate2 runs on a CPU.

    Greedy search gives the tokens of `families.ar`. Its beam search keeps the same prefixes alive and ranks
    by the same score, but is not the same search (docs/method.md, section 10.2): a prefix is finished only
    where EOS is among its K best continuations, and the search ends when PATIENCE x K hypotheses are
    finished, whatever could still come. A source without words has no candidates.
    """

    model: Any  # ctranslate2.Translator
    pieces: list[str]
    ids: dict[str, int]

    @property
    def batch_rows(self) -> int:
        return BATCH_TOKENS

    def decode(self, pairs: Pairs, num_candidates: int = 1) -> list[Candidates]:
        """The best `num_candidates` translations of every source, in the order of the data set."""
        self._require_short(pairs)
        beam = max(num_candidates, self._options.beam)
        sources = _split(pairs.source_tokens, pairs.source_offsets)
        found = []
        for limit, rows in self._by_limit(pairs.source_lengths):
            search = self._search([sources[row] for row in rows], beam, limit)
            found += [one._replace(row=rows[one.row]) for one in search]
        unknown = [place for place, one in enumerate(found) if np.isnan(one.log_prob)]
        to_score = (
            [sources[found[place].row] for place in unknown],
            [found[place].tokens for place in unknown],
        )
        for place, log_prob in zip(unknown, self.score_pairs(sentence_pairs(*to_score)), strict=True):
            found[place] = found[place]._replace(log_prob=float(log_prob))
        by_row: list[list[_Found]] = [[] for _ in range(pairs.size)]
        for one in found:
            by_row[one.row].append(one)
        return [self._ranked(of_row, num_candidates) for of_row in by_row]

    def score_pairs(self, pairs: Pairs) -> np.ndarray:
        """log p(target | source) f32[n] in nats, in the order of the data set.

        UserError for a source without words.
        """
        self._require_short(pairs)
        empty = np.flatnonzero(pairs.source_lengths <= 1)
        require(
            not len(empty),
            f"{len(empty)} sources are empty (rows {pairs.row[empty[:3]].tolist()}): CTranslate2 has no scores "
            "for them; leave them out, or score with the trained model.",
        )
        sources = _split(pairs.source_tokens, pairs.source_offsets)
        targets = _split(pairs.target_tokens, pairs.target_offsets)
        log_prob = np.full(pairs.size, NEG_INF, np.float32)
        fits = np.flatnonzero(pairs.target_lengths <= self.max_length).tolist()
        scored = self.model.score_batch(
            [self._named(sources[row]) for row in fits],
            [self._named(targets[row][:-1]) for row in fits],  # it adds EOS
            max_batch_size=BATCH_TOKENS,
            batch_type="tokens",
            max_input_length=0,
        )
        for row, one in zip(fits, scored, strict=True):
            # EOS at the last position that there is is certain.
            log_prob[row] = sum(one.log_probs[: self.max_length - 1])
        return log_prob

    def score(
        self, sources: Sequence[str], targets: Sequence[str], *, too_long: list[int] | None = None
    ) -> np.ndarray:
        """log p(target | source) of pairs of lines, as `TrainedModel.score`."""
        return score_lines(self, sources, targets, too_long)

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

    def _search(self, sources: list[np.ndarray], beam: int, limit: int) -> Iterator["_Found"]:
        """All finished hypotheses; `row` is the place in `sources`."""
        options = _beam_options(beam, self._options.length_penalty) if beam > 1 else _GREEDY
        results = self.model.translate_batch(
            [self._named(source) for source in sources],
            **options,
            return_scores=True,
            min_decoding_length=0,
            max_decoding_length=max(limit - 1, 1),  # EOS is ours at the last position
            max_input_length=0,
            max_batch_size=BATCH_TOKENS,
            batch_type="tokens",
        )
        for row, result in enumerate(results):
            if len(sources[row]) <= 1:
                continue
            for words, score in zip(result.hypotheses, result.scores, strict=True):
                words = words[: limit - 1]
                # Divided by 0 where there are no words; without EOS where it was not found in time.
                unknown = len(words) in (limit - 1, 0 if beam > 1 else limit)
                log_prob = np.nan if unknown else score * len(words) ** options["length_penalty"]
                yield _Found(row, np.array([*map(self.ids.get, words), EOS], np.int32), log_prob)

    def _ranked(self, found: Sequence["_Found"], count: int) -> Candidates:
        """The best `count` of one source, best first."""
        possible = [one for one in found if not is_impossible(one.log_prob)]
        log_prob = np.array([one.log_prob for one in possible], np.float32)
        lengths = np.array([len(one.tokens) for one in possible], np.float32)
        rank_score = log_prob / ((5 + lengths) / 6) ** np.float32(self._options.length_penalty)
        best = np.argsort(-rank_score, kind="stable")[:count]
        return Candidates([possible[index].tokens for index in best], log_prob[best], rank_score[best])

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
    """A finished hypothesis."""

    row: int
    tokens: np.ndarray  # i32[T], EOS included
    log_prob: float  # nats, summed; NaN where it must be computed


_GREEDY: dict[str, Any] = {"beam_size": 1, "length_penalty": 0.0}


def _beam_options(beam: int, alpha: float) -> dict[str, Any]:
    """All that such a search finishes comes back, nearly in the order of our score."""
    return {
        "beam_size": beam,
        "patience": PATIENCE,
        "num_hypotheses": round(beam * PATIENCE),
        "length_penalty": alpha or _NO_PENALTY,
    }


def open_ctranslate2(
    exported: Exported, precision: str | None = None, threads: int = 0
) -> CTranslate2Translator:
    """The teacher of a folder; `threads`: 0 is one for each core."""
    ctranslate2 = need("ctranslate2")
    chosen = chosen_precision(exported.about, precision)
    model = ctranslate2.Translator(
        str(exported.directory), compute_type=chosen, intra_threads=threads or os.cpu_count() or 1
    )
    pieces = exported.vocabulary.pieces()
    return CTranslate2Translator(exported, chosen, model, pieces, dict(zip(pieces, range(len(pieces)))))


def _split(tokens: np.ndarray, offsets: np.ndarray) -> list[np.ndarray]:
    """The sequences that lie one after the other in `tokens`."""
    return np.split(tokens, offsets[1:-1])
