"""What all exported models have, whatever runs them."""

import dataclasses
from typing import Any

from emnat_jax.config import ModelSpec
from emnat_jax.data.vocab import Vocabulary
from emnat_jax.export.folder import Exported
from emnat_jax.inference.translator import Translator


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ExportedTranslator(Translator):
    """A model of a finished folder, loaded with one of its precisions."""

    exported: Exported
    precision: str

    @property
    def vocabulary(self) -> Vocabulary:  # type: ignore[override]
        return self.exported.vocabulary

    @property
    def config(self) -> ModelSpec:
        return self.exported.about.model

    @property
    def max_length(self) -> int:
        return self.config.transformer.max_length

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        return self.exported.model

    def decoding_options(self) -> dict[str, Any]:
        about = self.exported.about
        runs_on: dict[str, Any] = {
            "backend": about.format,
            "precision": self.precision,
            "buckets": list(about.buckets),
        }
        if self.precision == "int8" and about.shortlist is not None:
            runs_on["shortlist"] = about.shortlist
        return super().decoding_options() | runs_on

    def made_from(self) -> dict[str, Any]:
        return {"exported": self.exported.fingerprint, "precision": self.precision}

    def __repr__(self) -> str:
        name = f"{type(self).__name__}({self.config.family}, {self.precision}"
        return f"{name}, {self.exported.fingerprint[:8]})"
