"""A trained model: text in, text out, log-probabilities. What the public API, the commands and the EM rounds use."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from emnat_jax.config import DataConfig, ModelSpec
from emnat_jax.data.pairs import Pairs
from emnat_jax.data.vocab import Vocabulary
from emnat_jax.errors import UserError, require
from emnat_jax.families import make_family, parallel_parts
from emnat_jax.inference.alternatives import Alternatives, alternatives_of, as_json, make_alternatives_step
from emnat_jax.inference.decode import (
    Candidates,
    decode_pairs,
    encode_lines,
    make_decode_step,
    sentence_pairs,
)
from emnat_jax.inference.rescore import make_rescored_step
from emnat_jax.inference.score import make_loss_step, make_score_step, score_pairs, summed_metrics
from emnat_jax.runtime.mesh import Layout
from emnat_jax.runtime.processes import Processes
from emnat_jax.types import EOS, Metrics, Params


class CompiledModel:
    """The compiled functions of one model configuration on one layout; parameters are given to each call.

    Each function compiles on first use and is kept, so that the models of all rounds share it. With several
    processes all call the same methods in the same order, each with its own pairs, or with none.
    """

    def __init__(
        self, model: ModelSpec, data: DataConfig, layout: Layout, processes: Processes = Processes()
    ):
        self.model = model
        self._over = {"data": data, "layout": layout, "processes": processes}
        self.family = make_family(model)
        self._decode_step = functools.cache(lambda count: make_decode_step(self.family, layout, count))
        self._score_step = functools.cache(lambda: make_score_step(self.family, layout))
        self._rescored_step = functools.cache(
            lambda teacher, count: make_rescored_step(
                self.family, teacher.family, layout, count=count, alpha=teacher.model.options.length_penalty
            )
        )
        self._alternatives_step = functools.cache(
            lambda count: make_alternatives_step(parallel_parts(model), layout, count)
        )
        self._loss_step = functools.cache(lambda: make_loss_step(self.family, layout))

    def decode(self, params: Params, pairs: Pairs, num_candidates: int = 1) -> list[Candidates]:
        """The best `num_candidates` translations of every source, in the order of the data set."""
        step = self._decode_step(num_candidates)
        return decode_pairs(step, params, pairs, **self._over)

    def decode_rescored(
        self,
        params: Params,
        pairs: Pairs,
        num_candidates: int,
        teacher: "CompiledModel",
        teacher_params: Params,
    ) -> list[Candidates]:
        """Of each source this model's `num_candidates` hypotheses, best first by the teacher.

        It ranks by log p_teacher (nats) over its own length penalty (METHOD 1.9); `log_prob` stays this model's.
        """
        step = self._rescored_step(teacher, num_candidates)
        return decode_pairs(step, (params, teacher_params), pairs, **self._over)

    def score(self, params: Params, pairs: Pairs) -> np.ndarray:
        """log p(target | source) f32[n] in nats, in the order of the data set."""
        return score_pairs(self._score_step(), params, pairs, **self._over)

    def metrics(self, params: Params, pairs: Pairs) -> Metrics:
        """The family's training metrics, without dropout, pooled over the pairs."""
        return summed_metrics(self._loss_step(), params, pairs, **self._over)

    def alternatives(self, params: Params, pairs: Pairs, count: int = 3) -> list[Alternatives]:
        """Of a student: the `count` most probable tokens at each position of the targets, its own outputs."""
        over = {name: value for name, value in self._over.items() if name != "data"}
        step = self._alternatives_step(count)
        return alternatives_of(step, params, pairs, width=self.model.transformer.max_length, **over)


class Translation(NamedTuple):
    """One translation of a line."""

    text: str
    log_prob: float  # nats, summed over the sentence, EOS included


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A trained model with its parameters and its vocabulary.

    With a `teacher` (`rescored_by`) its hypotheses come in the teacher's order.
    """

    functions: CompiledModel
    params: Params
    vocabulary: Vocabulary
    fingerprint: str  # of the parameters: the content hash of the model's manifest
    teacher: "TrainedModel | None" = None
    rescored_candidates: int = 1  # hypotheses that the teacher chooses from

    @property
    def config(self) -> ModelSpec:
        """Its family, sizes and decoding options."""
        return self.functions.model

    def rescored_by(self, teacher: "TrainedModel", candidates: int) -> "TrainedModel":
        """The same model; of its `candidates` best hypotheses the teacher says which is best (docs/method.md)."""
        return dataclasses.replace(self, teacher=teacher, rescored_candidates=candidates)

    def translate(self, lines: Sequence[str]) -> list[str]:
        """The best translation of each line; an empty line for one without words.

        A line of more tokens than the model takes is cut.
        """
        return [found[0].text if found else "" for found in self.n_best(lines, 1)]

    def n_best(self, lines: Sequence[str], count: int) -> list[list[Translation]]:
        """At most `count` different translations of each line, best first; none for a line without words."""
        require(count >= 1, f"n_best of {count}: ask for 1 or more.")
        wordy = [index for index, line in enumerate(lines) if line.strip()]
        sources = encode_lines([lines[i] for i in wordy], self.vocabulary, self.config.transformer.max_length)
        outputs: list[list[Translation]] = [[] for _ in lines]
        for index, candidates in zip(wordy, self.decode(sentence_pairs(sources), count), strict=True):
            outputs[index] = self._texts(candidates)
        return outputs

    def score(self, sources: Sequence[str], targets: Sequence[str]) -> np.ndarray:
        """log p(target | source) f32[n] in nats, summed over the sentence, of pairs of lines.

        Raises UserError for unequal numbers of lines, and for a line of more tokens than the model takes.
        """
        require(
            len(sources) == len(targets),
            f"{len(sources)} sources but {len(targets)} targets; give as many.",
        )
        sides = [encode_lines(lines, self.vocabulary, None) for lines in (sources, targets)]
        for name, side in zip(("source", "target"), sides):
            for number, tokens in enumerate(side, 1):
                if len(tokens) > self.config.transformer.max_length:
                    raise UserError(
                        f"{name} {number}: {len(tokens)} tokens, the model takes at most {self.config.transformer.max_length}."
                    )
        return self.score_pairs(sentence_pairs(*sides))

    def alternatives(self, lines: Sequence[str], count: int = 3) -> list[list[dict[str, Any]]]:
        """What a student chose between: the `count` most probable tokens at each position of its translation.

        A list of positions a line, each with `position`, the token `taken`, its `probability`, and the `likely`
        tokens with theirs. Nothing is revealed to the decoder: this is one pass.
        """
        require(
            parallel_parts(self.config) is not None,
            f"alternatives are those of one pass over all positions, which the family {self.config.family} has not.",
        )
        pairs = sentence_pairs(encode_lines(lines, self.vocabulary, self.config.transformer.max_length))
        outputs = [
            found.tokens[0] if found.tokens else np.array([EOS], np.int32) for found in self.decode(pairs)
        ]
        sources = encode_lines(lines, self.vocabulary, self.config.transformer.max_length)
        found = self.alternatives_of(sentence_pairs(sources, outputs), count)
        pieces = self.vocabulary.pieces()
        return [as_json(positions, pieces) for positions in found]

    def decode(self, pairs: Pairs, num_candidates: int = 1) -> list[Candidates]:
        """The best `num_candidates` translations of every source, in the order of the data set."""
        if self.teacher is None:
            return self.functions.decode(self.params, pairs, num_candidates)
        count = max(num_candidates, self.rescored_candidates)
        teacher = self.teacher
        found = self.functions.decode_rescored(self.params, pairs, count, teacher.functions, teacher.params)
        return [Candidates(one.tokens[:num_candidates], one.log_prob[:num_candidates]) for one in found]

    def score_pairs(self, pairs: Pairs) -> np.ndarray:
        """log p(target | source) f32[n] in nats, in the order of the data set."""
        return self.functions.score(self.params, pairs)

    def metrics(self, pairs: Pairs) -> Metrics:
        """The family's training metrics, without dropout, pooled over the pairs."""
        return self.functions.metrics(self.params, pairs)

    def alternatives_of(self, pairs: Pairs, count: int = 3) -> list[Alternatives]:
        """Of a student: the `count` most probable tokens at each position of the targets, its own outputs."""
        return self.functions.alternatives(self.params, pairs, count)

    def _texts(self, candidates: Candidates) -> list[Translation]:
        """Those that read differently, best first."""
        found: dict[str, Translation] = {}
        for tokens, log_prob in zip(candidates.tokens, candidates.log_prob, strict=True):
            text = as_line(tokens, self.vocabulary)
            found.setdefault(text, Translation(text, float(log_prob)))
        return list(found.values())


def as_line(tokens: np.ndarray, vocabulary: Vocabulary) -> str:
    """Tokens as text on one line."""
    return " ".join(vocabulary.decode(tokens).split("\n"))


def best_text(candidates: Candidates, vocabulary: Vocabulary) -> str:
    """The best candidate as text; an empty line where there is none."""
    return as_line(candidates.tokens[0], vocabulary) if candidates.tokens else ""
