"""A model that proposes candidates: its best translations, and after them draws."""

from typing import Any, NamedTuple

from emnat_jax.data.pairs import Pairs
from emnat_jax.inference.candidates import Candidates
from emnat_jax.inference.translator import Translator


class Proposer(NamedTuple):
    """A model, and what it is asked for of each source."""

    model: Translator
    num_best: int
    sampler: Translator | None = None  # the same model, which draws after the best
    samples: int = 0  # draws

    def with_samples(self, samples: int, temperature: float, seed: int) -> "Proposer":
        """The same with this many draws after the best; UserError of a model that draws none."""
        if samples == 0:
            return self
        return self._replace(sampler=self.model.sampling(temperature, seed), samples=samples)

    def decode(self, sources: Pairs) -> list[Candidates]:
        """The best of every source, and after them the draws."""
        found = self.model.decode(sources, self.num_best)
        if self.sampler is None:
            return found
        drawn = self.sampler.decode(sources, self.samples)
        return [best.followed_by(others) for best, others in zip(found, drawn, strict=True)]

    def options(self) -> dict[str, Any]:
        """What decides its outputs, as a manifest has it."""
        if self.sampler is None:
            return self.model.decoding_options()
        return self.sampler.decoding_options() | {"samples": self.samples}
