"""An exported model of StableHLO programs, which JAX runs on whatever devices it has."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from emnat_jax.data.pairs import Pairs
from emnat_jax.errors import require
from emnat_jax.export.folder import Exported, chosen_precision
from emnat_jax.export.onnx_runtime import BATCH_TOKENS, batches, padded
from emnat_jax.export.stablehlo import fill_up, read_stablehlo
from emnat_jax.export.translator import ExportedTranslator
from emnat_jax.inference.candidates import Candidates
from emnat_jax.inference.decode import candidates_of
from emnat_jax.runtime.memory import most_rows
from emnat_jax.types import Hypotheses, Params

Program = Callable[[Params, np.ndarray], Any]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class StablehloTranslator(ExportedTranslator):
    """A model of any family; it gives the best translation of a line, with its log-probability."""

    programs: Mapping[int, Program]  # by width of the sources
    params: Params
    batch_tokens: int = BATCH_TOKENS

    @property
    def batch_rows(self) -> int:
        return min(self.batch_tokens, most_rows(jax.default_backend()))

    def decode(self, pairs: Pairs, num_candidates: int = 1) -> list[Candidates]:
        """The best translation of every source, in the order of the data set."""
        require(
            num_candidates == 1,
            "this exported model gives the best translation alone; for more take the trained model (no "
            "--backend).",
        )
        found: dict[int, Candidates] = {}
        for rows in batches(pairs.source_lengths, self.batch_tokens, self.batch_rows):
            # Programs are compiled for each number of rows: only powers of two are asked for.
            missing = 2 ** (len(rows) - 1).bit_length() - len(rows)
            source = fill_up(padded(pairs, [*rows, *rows[:1] * missing]), self.programs)
            parts = jax.device_get(self.programs[source.shape[1]](self.params, source))
            found.update(candidates_of(np.array([*rows, *[-1] * missing]), Hypotheses(*parts)))
        return [found[row] for row in range(pairs.size)]


def open_stablehlo(exported: Exported, precision: str | None = None) -> StablehloTranslator:
    """The model of a folder; XLA takes the cores or the device that it finds."""
    found = read_stablehlo(exported.directory)
    programs = {width: jax.jit(program.call) for width, program in found.by_width.items()}
    chosen = chosen_precision(exported.about, precision)
    return StablehloTranslator(exported, chosen, programs, jax.device_put(found.params))
