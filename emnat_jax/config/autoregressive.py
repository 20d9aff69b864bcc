"""Options of the autoregressive family."""

import dataclasses
from typing import ClassVar

from emnat_jax.config.checks import positive
from emnat_jax.config.family_options import FamilyOptions, LengthChoices

AR_BEAM = 5  # of the decoder `beam`, where the options ask for greedy search (docs/method.md, section 10.2)


@dataclasses.dataclass(frozen=True)
class AROptions(FamilyOptions):
    """Decoding of the autoregressive family."""

    beam: int = 1  # 1 is greedy search; N-best lists widen it to N
    length_penalty: float = 1.8  # alpha of ((5 + length) / 6)^alpha, tuned on the valid split of the demo

    is_parallel: ClassVar[bool] = False
    extra_decoder_layers: ClassVar[int] = 0

    def __post_init__(self) -> None:
        positive(self, "beam")

    @property
    def temperature(self) -> float | None:
        """Of draws from the model, where outputs are drawn; None: they are searched for."""
        return None

    @property
    def seed(self) -> int:
        """Of the draws."""
        return 0

    def with_sampling(self, temperature: float, seed: int, family: str) -> "ARSampling":
        return ARSampling(self.beam, self.length_penalty, temperature, seed)

    def decoders(self) -> dict[str, FamilyOptions]:
        widths = {"greedy": 1, "beam": self.beam if self.beam > 1 else AR_BEAM}
        return {name: dataclasses.replace(self, beam=beam) for name, beam in widths.items()}

    def length_choices(self) -> LengthChoices:
        """Those of a beam: greedy search has one hypothesis, its N-best lists and rescoring have several."""
        found = self._length_choices("length_penalty", "beam", (0.0, 0.6, 1.0, 1.4, 1.8, 2.4))
        return dataclasses.replace(found, options=self.decoders()["beam"])


@dataclasses.dataclass(frozen=True)
class ARSampling(AROptions):
    """A model whose outputs are drawn: no option of a run, but how one that was trained is asked for samples.

    A list of N is N independent draws in decreasing log-probability, so that one may come twice.
    """

    temperature: float = 1.0  # tokens are drawn from p^(1/temperature), normalised anew at each position
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "temperature")
