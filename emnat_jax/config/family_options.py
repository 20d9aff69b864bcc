"""What every family says of itself by its options, without JAX."""

import dataclasses
from typing import ClassVar

from emnat_jax.errors import UserError, require


@dataclasses.dataclass(frozen=True)
class LengthChoices:
    """The option that moves the length of a decoder's outputs, and what may be tried for it."""

    option: str  # its name among the options of the family, e.g. length_reward
    decoder: str  # whose outputs it moves
    configured: float
    values: tuple[float, ...]  # worth trying, in increasing order; the configured one is among them
    options: "FamilyOptions"  # with that decoder: what is decoded with while values are tried


@dataclasses.dataclass(frozen=True)
class FamilyOptions:
    """Options that every family has, and what can be asked of it without JAX."""

    is_parallel: ClassVar[bool] = True  # one pass over all positions; only such a family can be the student
    is_glanceable: ClassVar[bool] = False  # `glat` can train it
    extra_decoder_layers: ClassVar[int] = 1  # more than `decoder_layers` says (docs/method.md, section 8.3)

    @property
    def role(self) -> str:
        """What a model of the family can be: student or teacher."""
        return "student" if self.is_parallel else "teacher"

    def decoder_positions(self, source: int, target: int) -> int:
        """Positions that the decoder computes for padded widths of source and target."""
        return target

    @property
    def length_penalty(self) -> float:
        """alpha of ((5 + length) / 6)^alpha, which log-probabilities are divided by to rank outputs."""
        return 0.0

    @property
    def length_candidates(self) -> int | None:
        """Target lengths that are decoded side by side; None where the family has no such option."""
        return None

    @property
    def objectives(self) -> tuple[str, ...]:
        """What it can be trained for, of TrainConfig.objective."""
        return ("likelihood",)

    @property
    def deep_supervision(self) -> bool:
        """Whether each decoder layer has a loss of its own; False where the family has no such option."""
        return False

    def with_length_candidates(self, count: int, family: str) -> "FamilyOptions":
        """The same with this many lengths; UserError where `family`, its name, has no such option."""
        require(
            self.length_candidates is not None,
            f"length candidates: the family {family} decodes one length of its own.",
        )
        return dataclasses.replace(self, length_candidates=count)  # type: ignore[call-arg]

    def continued(self) -> "FamilyOptions":
        """Those of a training that goes on from a trained model of the same options, as later rounds do."""
        return self

    def decoders(self) -> dict[str, "FamilyOptions"]:
        """The decoders by name, each as the same options with that decoder."""
        return {}

    def with_decoder(self, name: str, family: str) -> "FamilyOptions":
        """The options with the decoder `name`; UserError for one that `family`, its name, does not have."""
        known = self.decoders()
        require(name in known, f"decoder {name!r}: the family {family} has {', '.join(known)}.")
        return known[name]

    def with_sampling(self, temperature: float, seed: int, family: str) -> "FamilyOptions":
        """The same, but outputs are drawn from the model; UserError where `family`, its name, draws none."""
        raise UserError(f"samples: the family {family} draws none; only ar does.")

    def length_choices(self) -> LengthChoices | None:
        """What moves the length of outputs of the decoder in use; None where nothing does."""
        return None

    def with_length(self, value: float) -> "FamilyOptions":
        """The same with this value of the option that `length_choices` names."""
        choices = self.length_choices()
        assert choices is not None, "nothing moves the length of these outputs"
        return dataclasses.replace(self, **{choices.option: value})

    def _length_choices(self, option: str, decoder: str, values: tuple[float, ...]) -> LengthChoices:
        """With the value of today among `values`."""
        configured: float = getattr(self, option)
        return LengthChoices(option, decoder, configured, tuple(sorted({*values, configured})), self)

    def _named(self, names: tuple[str, ...]) -> dict[str, "FamilyOptions"]:
        """Decoders that the option `decoder` chooses."""
        return {name: dataclasses.replace(self, decoder=name) for name in names}  # type: ignore[call-arg]
