"""A trained model: text in, text and log-probabilities out; used by users, commands and EM rounds.

Path of a line through `TrainedModel.translate`: long_lines.divide -> encode.encode_lines ->
TrainedModel.decode -> CompiledModel.decode -> decode.decode_pairs -> batching.each_batch -> the family's
decode -> Vocabulary.decode -> long_lines.combine.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from emnat_jax.artifacts.records import Row
from emnat_jax.config import DataConfig, ModelSpec
from emnat_jax.data.pairs import Pairs
from emnat_jax.data.vocab import Vocabulary
from emnat_jax.errors import UserError, require
from emnat_jax.families import make_family, parallel_parts
from emnat_jax.families.parallel import Parallel
from emnat_jax.inference.alternatives import (
    COUNT,
    Alternatives,
    AlternativesStep,
    Choice,
    alternatives_of,
    choices,
    make_alternatives_step,
)
from emnat_jax.inference.batching import Machine
from emnat_jax.inference.candidates import Candidates
from emnat_jax.inference.decode import (
    DecodeStep,
    LengthsStep,
    decode_by_length,
    decode_pairs,
    make_decode_step,
    make_lengths_step,
)
from emnat_jax.inference.long_lines import LongLines
from emnat_jax.inference.rescore import make_rescored_step
from emnat_jax.inference.score import (
    ScoreStep,
    make_list_score_step,
    make_loss_step,
    make_score_step,
    score_lists,
    score_pairs,
    summed_metrics,
)
from emnat_jax.inference.sentences import as_lines, sentence_pairs
from emnat_jax.inference.translator import Translator
from emnat_jax.runtime.memory import device_memory
from emnat_jax.runtime.mesh import Layout, own_rows
from emnat_jax.runtime.processes import Processes
from emnat_jax.training.state import abstract_params
from emnat_jax.types import Metrics, Params


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class TrainedModel(Translator):
    """A trained model with its parameters and its vocabulary; `emnat_jax.load` opens one.

    Lines are plain text, one sentence each. With a `teacher` (`rescored_by`) hypotheses come in the teacher's
    order.
    """

    functions: "CompiledModel"
    params: Params
    vocabulary: Vocabulary
    fingerprint: str  # of the parameters: the content hash of the model's manifest
    teacher: "TrainedModel | None" = None
    rescored_candidates: int = 1  # hypotheses that the teacher chooses from
    # Fingerprints of what it was made from, as its manifest has them.
    made_of: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def alternatives(
        self, lines: Iterable[str], count: int = COUNT, *, long_lines: str | LongLines = "split"
    ) -> list[list[Choice]]:
        """What a student chose between: for each line the positions of its translation, in order.

        A `Choice` has the token taken and the `count` most probable ones, with probabilities. They are those
        of one pass to which nothing is revealed. No positions for a line without words. `long_lines` is as in
        `translate`; positions of a line's second part follow those of its first. Raises UserError for a
        family that goes step by step.
        """
        lines = as_lines("lines", lines)
        most = self.vocabulary.size
        require(1 <= count <= most, f"alternatives: count={count}; ask for 1 to {most}.")
        self.functions.require_parallel()
        parts = self._divide(lines, long_lines)
        decoded = zip(parts, self.decode(sentence_pairs([part.tokens for part in parts])), strict=True)
        shown = [(part.place, part.tokens, found.tokens[0]) for part, found in decoded if found.tokens]
        pairs = sentence_pairs([source for _, source, _ in shown], [output for _, _, output in shown])
        outputs: list[list[Choice]] = [[] for _ in lines]
        pieces = self.vocabulary.pieces()
        for (place, _, _), found in zip(shown, self.alternatives_of(pairs, count), strict=True):
            begin = outputs[place][-1].position + 1 if outputs[place] else 0
            outputs[place] += [one._replace(position=begin + one.position) for one in choices(found, pieces)]
        return outputs

    def rescored_by(self, teacher: "TrainedModel", candidates: int) -> "TrainedModel":
        """The same model, of whose `candidates` best hypotheses the teacher chooses (docs/method.md)."""
        return dataclasses.replace(self, teacher=teacher, rescored_candidates=candidates)

    def batched(self, data: DataConfig, layout: Layout) -> "TrainedModel":
        """The same, which decodes in other batches."""
        return dataclasses.replace(self, functions=CompiledModel(self.config, data, layout))

    def sampling(self, temperature: float, seed: int) -> "TrainedModel":
        """The same, whose `decode` gives draws (docs/method.md, section 10.2.1), the likeliest first."""
        return dataclasses.replace(self, functions=self.functions.sampling(temperature, seed), teacher=None)

    @property
    def config(self) -> ModelSpec:
        """Its family, sizes and decoding options."""
        return self.functions.model

    @property
    def max_length(self) -> int:
        return self.functions.max_length

    @property
    def batch_rows(self) -> int:
        return self.functions.batch_rows

    def made_from(self) -> dict[str, Any]:
        """What its outputs depend on: parameters, decoding, chooser; JSON."""
        chooser = self.teacher
        return {
            "model": self.fingerprint,
            "decoding": self.decoding_options(),
            "--rescore": chooser and [chooser.fingerprint, self.rescored_candidates],
        }

    def __repr__(self) -> str:
        about = f"{self.functions.describe()}, {self.vocabulary.size} tokens, {self.fingerprint[:8]}"
        if self.teacher is not None:
            about += f", best of {self.rescored_candidates} by {self.teacher!r}"
        return f"TrainedModel({about})"

    def decode(self, pairs: Pairs, num_candidates: int = 1) -> list[Candidates]:
        """The best `num_candidates` translations of every source, in the order of the data set."""
        if self.teacher is None:
            return self.functions.decode(self.params, pairs, num_candidates)
        count = max(num_candidates, self.rescored_candidates)
        teacher = self.teacher
        found = self.functions.decode_rescored(self.params, pairs, count, teacher.functions, teacher.params)
        return [one.first(num_candidates) for one in found]

    def score_pairs(self, pairs: Pairs) -> np.ndarray:
        """log p(target | source) f32[n] in nats, in the order of the data set."""
        return self.functions.score(self.params, pairs)

    def score_lists(self, rows: Sequence[Row]) -> list[np.ndarray]:
        """log p(target | source) f32[k] in nats of the k targets of each row.

        A student sees each source once for all of its targets.
        """
        return self.functions.score_lists(self.params, rows)

    def metrics(self, pairs: Pairs) -> Metrics:
        """The family's training metrics, without dropout, pooled over the pairs."""
        return self.functions.metrics(self.params, pairs)

    def alternatives_of(self, pairs: Pairs, count: int = COUNT) -> list[Alternatives]:
        """Of a student: the `count` most probable tokens at each position of the targets, its own outputs."""
        return self.functions.alternatives(self.params, pairs, count)


class CompiledModel:
    """The compiled functions of one model configuration on one layout; parameters are given to each call.

    Each function compiles on first use and is kept, so that the models of all rounds share it. With several
    processes all call the same methods in the same order, each with its own pairs, or with none.
    """

    def __init__(
        self, model: ModelSpec, data: DataConfig, layout: Layout, processes: Processes = Processes()
    ):
        self.model = model
        self.family = make_family(model)
        self.machine = Machine(data, layout, processes, model.transformer.vocab_size)
        family = self.family

        def rescored(teacher: "CompiledModel", count: int) -> DecodeStep:
            alpha = teacher.model.options.length_penalty
            return make_rescored_step(family, teacher.family, layout, count=count, alpha=alpha)

        def sampling(temperature: float, seed: int) -> "CompiledModel":
            return CompiledModel(model.with_sampling(temperature, seed), data, layout, processes)

        def alternatives(count: int) -> AlternativesStep:
            return make_alternatives_step(self.require_parallel(), layout, count)

        def list_scores(count: int) -> ScoreStep:
            return make_list_score_step(self.require_parallel(), layout, count)

        # The same model that draws its outputs: (temperature, seed) -> its functions.
        self.sampling: Callable[[float, int], CompiledModel] = functools.cache(sampling)
        self._decode_step = functools.cache(lambda count: make_decode_step(family, layout, count))
        self._lengths_step: Callable[[tuple[float, ...]], LengthsStep] = functools.cache(
            lambda values: make_lengths_step(model, values, layout)
        )
        self._score_step = functools.cache(lambda: make_score_step(family, layout))
        self._list_score_step: Callable[[int], ScoreStep] = functools.cache(list_scores)
        self._loss_step = functools.cache(lambda: make_loss_step(family, layout))
        self._rescored_step: Callable[[CompiledModel, int], DecodeStep] = functools.cache(rescored)
        self._alternatives_step: Callable[[int], AlternativesStep] = functools.cache(alternatives)

    def decode(self, params: Params, pairs: Pairs, num_candidates: int = 1) -> list[Candidates]:
        """The best `num_candidates` translations of every source, in the order of the data set."""
        return decode_pairs(self._decode_step(num_candidates), params, pairs, self.machine)

    def decode_by_length(
        self, params: Params, pairs: Pairs, values: tuple[float, ...]
    ) -> Iterator[list[Candidates]]:
        """The best translation of every source with each value of what moves the length of outputs."""
        return decode_by_length(self._lengths_step(values), params, pairs, self.machine)

    def decode_rescored(
        self,
        params: Params,
        pairs: Pairs,
        num_candidates: int,
        teacher: "CompiledModel",
        teacher_params: Params,
    ) -> list[Candidates]:
        """Of each source this model's `num_candidates` hypotheses, best first by the teacher.

        It ranks by log p_teacher (nats) over its own length penalty (docs/method.md, section 10.5);
        `log_prob` stays this model's.
        """
        step = self._rescored_step(teacher, num_candidates)
        return decode_pairs(step, (params, teacher_params), pairs, self.machine)

    def score(self, params: Params, pairs: Pairs) -> np.ndarray:
        """log p(target | source) f32[n] in nats, in the order of the data set."""
        return score_pairs(self._score_step(), params, pairs, self.machine)

    def score_lists(self, params: Params, rows: Sequence[Row]) -> list[np.ndarray]:
        """log p(target | source) f32[k] in nats of the k targets of each row."""
        counts = [len(row.targets) for row in rows]
        most = max(self.machine.processes.gather("targets", max(counts, default=1)))
        parts = parallel_parts(self.model)
        if parts is not None and most > 1:
            return score_lists(self._list_score_step(most), params, rows, most, self.machine)
        sources = [row.source for row in rows for _ in row.targets]
        pairs = sentence_pairs(sources, [target for row in rows for target in row.targets])
        scores = self.score(params, pairs)  # also without rows: all processes call it together
        return np.split(scores, np.cumsum(counts)[:-1]) if rows else []

    def metrics(self, params: Params, pairs: Pairs) -> Metrics:
        """The family's training metrics, without dropout, pooled over the pairs."""
        return summed_metrics(self._loss_step(), params, pairs, self.machine)

    def loss_rows(self) -> Callable[[int], int]:
        """Width -> rows on each device with which `metrics` fits; all processes call it together."""
        return self.machine.each(self._loss_step(), abstract_params(self.family, self.machine.layout))

    def alternatives(self, params: Params, pairs: Pairs, count: int = COUNT) -> list[Alternatives]:
        """Of a student: the `count` most probable tokens at each position of the targets, its own outputs."""
        return alternatives_of(self._alternatives_step(count), params, pairs, self.max_length, self.machine)

    @property
    def max_length(self) -> int:
        """The most tokens of a sentence, EOS included."""
        return self.model.transformer.max_length

    @property
    def batch_rows(self) -> int:
        """The most rows of a decoding or scoring batch that this process provides."""
        layout, given = self.machine.layout, self.machine.data.decode_rows
        return own_rows(layout, given or device_memory(layout).rows)

    def require_parallel(self) -> Parallel:
        """The parts of a family of one pass; UserError for one that goes step by step."""
        parts = parallel_parts(self.model)
        if parts is None:
            raise UserError(
                f"alternatives: the family {self.model.family} predicts one token after another; use a "
                "student, which predicts all positions in one pass."
            )
        return parts

    def describe(self) -> str:
        """Family and sizes in a few words."""
        sizes = self.model.transformer
        layers = f"{sizes.encoder_layers}+{sizes.decoder_layers} layers of width {sizes.width}"
        return f"{self.model.family}, {layers}"
