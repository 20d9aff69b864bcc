"""A trained model as the outside sees it: text in, text out, scores. Each function compiles once."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from emnat_jax.config import DataConfig, ModelConfig
from emnat_jax.data.pipeline import Pairs
from emnat_jax.data.vocab import Vocabulary
from emnat_jax.families import make_family, parallel_parts
from emnat_jax.inference.alternatives import Alternatives, alternatives_of, make_alternatives_step
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


class System:
    """One model configuration on one layout; parameters are given to each call.

    The compiled functions are made on first use and kept, so that rounds share them. With several processes all
    call the same methods in the same order, each with its own pairs, or with none.
    """

    def __init__(
        self, model: ModelConfig, data: DataConfig, layout: Layout, processes: Processes = Processes()
    ):
        self.model = model
        self._over = {"data": data, "layout": layout, "processes": processes}
        self.family = make_family(model)
        self._decode_step = functools.cache(lambda count: make_decode_step(self.family, layout, count))
        self._score_step = functools.cache(lambda: make_score_step(self.family, layout))
        self._rescored_step = functools.cache(
            lambda teacher, count: make_rescored_step(
                self.family, teacher.family, layout, count=count, alpha=teacher.model.ar.length_penalty
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
        self, params: Params, pairs: Pairs, num_candidates: int, teacher: "System", teacher_params: Params
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
        return alternatives_of(step, params, pairs, width=self.model.max_length, **over)

    def translate(self, params: Params, lines: Sequence[str], vocabulary: Vocabulary) -> list[str]:
        """The best translation of each line; a line without words gives an empty line."""
        return translate_lines(
            lambda pairs: self.decode(params, pairs), lines, vocabulary, self.model.max_length
        )


@dataclasses.dataclass(frozen=True)
class Model:
    """A finished model with its parameters."""

    system: System
    params: Params
    fingerprint: str


def translate_lines(
    decode: Callable[[Pairs], list[Candidates]],
    lines: Sequence[str],
    vocabulary: Vocabulary,
    max_length: int,
) -> list[str]:
    """The best translation that `decode` gives each line; an empty line for one without words."""
    wordy = [index for index, line in enumerate(lines) if line.strip()]
    sources = encode_lines([lines[i] for i in wordy], vocabulary, max_length)
    outputs = [""] * len(lines)
    for index, candidates in zip(wordy, decode(sentence_pairs(sources)), strict=True):
        outputs[index] = best_text(candidates, vocabulary)
    return outputs


def best_text(candidates: Candidates, vocabulary: Vocabulary) -> str:
    """The best candidate as text, on one line."""
    tokens = candidates.tokens[0] if candidates.tokens else np.array([EOS])
    return " ".join(vocabulary.decode(tokens).split("\n"))
