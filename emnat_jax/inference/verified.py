"""A student drafts, the teacher checks: the teacher's translations in fewer of its passes."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emnat_jax.config import DataConfig, ModelSpec
from emnat_jax.config.verified import VERIFIED, VerifiedOptions
from emnat_jax.data.pairs import Pairs
from emnat_jax.data.vocab import Vocabulary
from emnat_jax.decoding.verified import DraftFn
from emnat_jax.errors import require
from emnat_jax.families import make_redraft, make_verify
from emnat_jax.families.base import Family, Redraft, Verify
from emnat_jax.inference.candidates import Candidates
from emnat_jax.inference.decode import candidates_of, each_decoded
from emnat_jax.inference.model import TrainedModel
from emnat_jax.inference.translator import Passes, Translator
from emnat_jax.runtime.mesh import Layout, batch_sharding
from emnat_jax.types import Batch, Hypotheses, Params

VerifiedStep = Callable[[tuple[Params, Params], Batch], tuple[Hypotheses, jax.Array]]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class VerifiedModel(Translator):
    """A teacher whose greedy search checks what a student drafts (docs/method.md, section 10.10).

    It is the teacher in all that it says of itself and in its translations, unless the options accept other
    tokens. `emnat_jax.load(..., decoder="verified")` opens one.
    """

    teacher: TrainedModel
    student: TrainedModel
    options: VerifiedOptions = VerifiedOptions()

    def __post_init__(self) -> None:
        teacher, student = self.teacher, self.student
        make_verify(teacher.config)  # UserError for a student
        require(
            student.config.options.is_parallel,
            f"decoder=verified: {student!r} drafts token by token; name a student, which drafts in one pass.",
        )
        require(
            student.vocabulary.fingerprint == teacher.vocabulary.fingerprint,
            f"decoder=verified: {student!r} has not the vocabulary of {teacher!r}; take models of a workdir.",
        )
        require(
            student.max_length >= teacher.max_length,
            f"decoder=verified: {student!r} takes {student.max_length} tokens and its teacher "
            f"{teacher.max_length}; use a student that takes as many.",
        )
        if self.options.redraft:
            make_redraft(student.config)  # UserError for one that sees nothing of the target

    @property
    def vocabulary(self) -> Vocabulary:  # type: ignore[override]
        """That of both."""
        return self.teacher.vocabulary

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        """That of the teacher, whose translations they are."""
        return self.teacher.fingerprint

    @property
    def config(self) -> ModelSpec:
        return self.teacher.config

    @property
    def max_length(self) -> int:
        return self.teacher.max_length

    @property
    def batch_rows(self) -> int:
        return self.teacher.batch_rows

    def decoding_options(self) -> dict[str, Any]:
        """Those of greedy search, and what may change its outputs: nothing where they are the same."""
        changed = {} if self.options.is_lossless else self._about()
        return self.teacher.decoding_options() | changed

    def made_from(self) -> dict[str, Any]:
        return {**self.teacher.made_from(), "--decoder": [VERIFIED, self._about()]}

    def __repr__(self) -> str:
        rule = "" if self.options.is_lossless else ", not lossless"
        return f"VerifiedModel({self.teacher!r}, drafts of {self.student!r}{rule})"

    def decode(self, pairs: Pairs, num_candidates: int = 1) -> list[Candidates]:
        """The translation of every source, in the order of the data set; UserError for more than one."""
        require(
            num_candidates == 1,
            f"decoder=verified: it finds one translation and not {num_candidates}; use decoder=beam.",
        )
        return self._decode_counted(pairs)[0]

    def count_passes(self, pairs: Pairs) -> Passes:
        return self._decode_counted(pairs)[1]

    def _decode_counted(self, pairs: Pairs) -> tuple[list[Candidates], Passes]:
        """The translation of every source, and the passes that they took."""
        params = (self.student.params, self.teacher.params)
        found: dict[int, Candidates] = {}
        passes = 0
        for batch, (hypotheses, of_rows) in each_decoded(
            self._step, params, pairs, self.teacher.functions.machine
        ):
            found.update(candidates_of(batch.row, hypotheses))
            passes += int(np.sum(of_rows[batch.row >= 0]))
        in_order = [found[index] for index in range(pairs.size)]
        tokens = sum(len(one.tokens[0]) for one in in_order)
        return in_order, Passes(pairs.size, tokens, passes)

    def batched(self, data: DataConfig, layout: Layout) -> "VerifiedModel":
        """The same, which decodes in other batches."""
        return dataclasses.replace(self, teacher=self.teacher.batched(data, layout))

    def score_pairs(self, pairs: Pairs) -> np.ndarray:
        """The teacher's log p(target | source) f32[n] in nats."""
        return self.teacher.score_pairs(pairs)

    def sampling(self, temperature: float, seed: int) -> TrainedModel:
        """The teacher, whose `decode` gives draws."""
        return self.teacher.sampling(temperature, seed)

    @functools.cached_property
    def _step(self) -> VerifiedStep:
        functions, student = self.teacher.functions, self.student.functions
        drafting = make_redraft(student.model) if self.options.redraft else student.family
        return make_verified_step(
            drafting, make_verify(functions.model), functions.machine.layout, self.options
        )

    def _about(self) -> dict[str, Any]:
        return {"draft": self.student.fingerprint, **dataclasses.asdict(self.options)}


def make_verified_step(
    student: Family | Redraft, verify: Verify, layout: Layout, options: VerifiedOptions
) -> VerifiedStep:
    """Compiled ((student, teacher) params, batch) -> (hypotheses, passes i32[B] of the teacher).

    A family drafts the whole sentence once, by its own decoder; a `Redraft` in one pass after every pass.
    """

    def decode(params: tuple[Params, Params], batch: Batch) -> tuple[Hypotheses, jax.Array]:
        drafts, again = _drafts(student, params[0], batch.source)
        found = verify(params[1], batch.source, drafts, options, redraft=again)
        return found.hypotheses, found.passes

    rows = batch_sharding(layout.mesh)
    return jax.jit(decode, in_shardings=(None, rows), out_shardings=rows)


def _drafts(student: Family | Redraft, params: Params, source: jax.Array) -> tuple[jax.Array, DraftFn | None]:
    """The first drafts, and how to make later ones."""
    if isinstance(student, Family):
        return student.decode(params, source, jax.random.key(0), 1).tokens[:, 0], None
    again = student(params, source)
    nothing = jnp.zeros(source.shape[0], jnp.int32)
    return again(nothing[:, None], nothing), again
