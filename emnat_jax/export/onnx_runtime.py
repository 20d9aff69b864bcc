"""An exported student under ONNX Runtime: no JAX is imported."""

import dataclasses
from typing import Any

import numpy as np

from emnat_jax.data.pairs import Pairs
from emnat_jax.errors import UserError
from emnat_jax.export.folder import Exported, chosen_precision
from emnat_jax.export.packages import need
from emnat_jax.export.translator import ExportedTranslator
from emnat_jax.inference.candidates import Candidates
from emnat_jax.inference.translator import Translation
from emnat_jax.tokens import EOS, PAD

BATCH_TOKENS = 1_024  # of the sources of a batch, padding counted


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class OnnxTranslator(ExportedTranslator):
    """A student that ONNX Runtime runs on a CPU; it gives the best translation of a line, without a score."""

    session: Any  # onnxruntime.InferenceSession
    batch_tokens: int = BATCH_TOKENS

    @property
    def batch_rows(self) -> int:
        return self.batch_tokens

    def decode(self, pairs: Pairs, num_candidates: int = 1) -> list[Candidates]:
        """The best translation of every source, in the order of the data set; its scores are NaN."""
        if num_candidates != 1:
            raise UserError(_ONE)
        found: dict[int, Candidates] = {}
        for rows in batches(pairs.source_lengths, self.batch_tokens):
            (tokens,) = self.session.run(["tokens"], {"source": padded(pairs, rows)})
            ends = np.argmax(tokens == EOS, axis=1) + 1
            for row, line, end in zip(rows, tokens, ends, strict=True):
                found[row] = Candidates([line[:end]], _UNKNOWN, _UNKNOWN)
        return [found[row] for row in range(pairs.size)]

    def n_best(self, lines: Any, count: int, *, long_lines: Any = "split") -> list[list[Translation]]:
        """UserError: an exported student has neither scores nor more than one translation."""
        raise UserError(_ONE)


_UNKNOWN = np.full(1, np.nan, np.float32)
_ONE = (
    "an exported student gives the best translation alone, without its score; for more take the trained "
    "model (no --backend)."
)


def open_onnx(exported: Exported, precision: str | None = None, threads: int = 0) -> OnnxTranslator:
    """The student of a folder; `threads`: 0 is one for each core."""
    onnxruntime = need("onnxruntime")
    chosen = chosen_precision(exported.about, precision)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    path = str(exported.directory / f"{chosen}.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return OnnxTranslator(exported, chosen, session)


def batches(lengths: np.ndarray, tokens: int, most: int | None = None) -> list[list[int]]:
    """Rows of each batch, of like length: as many as have `tokens` with padding, 1 to `most`."""
    found: list[list[int]] = []
    width = 0
    for row in np.argsort(-lengths, kind="stable").tolist():
        if not found or (len(found[-1]) + 1) * width > tokens or len(found[-1]) == most:
            found.append([])
            width = int(lengths[row])
        found[-1].append(row)
    return found


def padded(pairs: Pairs, rows: list[int]) -> np.ndarray:
    """i32[B, S]: the sources of these rows, as wide as the longest."""
    begins, lengths = pairs.source_offsets[rows], pairs.source_lengths[rows]
    place = np.arange(lengths.max())
    real = place[None] < lengths[:, None]
    index = np.where(real, begins[:, None] + place[None], 0)
    return np.where(real, pairs.source_tokens[index], PAD).astype(np.int32)
