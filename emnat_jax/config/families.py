"""The table of model families, and the options of each.

A family is a model of p(target | source). What the layers above ask of it without running it are members of
its options; the functions that run it are imported when they are first called. A config file adds a family of
its own by one line before it returns its configuration:

    FAMILIES["mine"] = FamilySpec(MyOptions, make, parts)
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from emnat_jax.config.autoregressive import AROptions
from emnat_jax.config.checks import check, each, one_of, positive
from emnat_jax.config.deferred import deferred
from emnat_jax.config.family_options import FamilyOptions, LengthChoices
from emnat_jax.config.groups import chosen_options, named_by
from emnat_jax.config.training import OBJECTIVES
from emnat_jax.errors import require


@dataclasses.dataclass(frozen=True)
class LengthOptions(FamilyOptions):
    """A family that predicts the target's length first."""

    length_candidates: int = 1  # lengths decoded in parallel, chosen by the model's own score
    length_penalty: float = 0.0  # alpha in that choice
    length_loss_weight: float = 0.1

    @property
    def copies_source(self) -> bool:
        """Whether decoder positions start from tokens of the source; else from PAD."""
        return False

    def _among_lengths(self, decoder: str) -> LengthChoices | None:
        """What moves a choice among lengths; None where there is one length."""
        if self.length_candidates == 1:
            return None
        return self._length_choices("length_penalty", decoder, (0.0, 0.5, 1.0, 1.5, 2.0))


@dataclasses.dataclass(frozen=True)
class VanillaOptions(LengthOptions):
    """Loss and decoding of the position-wise non-autoregressive family."""

    decoder: str = "odd"  # odd or argmax
    odd_penalty: float | None = None  # nats taken off for two equal neighbours; None forbids them
    decoder_input: str = "pad"  # what positions start from: pad (one vector) or source (its tokens, spread)
    deep_supervision: bool = False  # training: the token loss is the mean of those of all decoder layers

    is_glanceable: ClassVar[bool] = True
    DECODERS: ClassVar[tuple[str, ...]] = ("odd", "argmax")

    def __post_init__(self) -> None:
        one_of("decoder", self.decoder, self.DECODERS)
        one_of("decoder_input", self.decoder_input, ("pad", "source"))
        positive(self, "length_candidates")
        each(self, ("odd_penalty",), lambda value: value >= 0, "None or a number of at least 0")

    @property
    def copies_source(self) -> bool:
        return self.decoder_input == "source"

    def decoders(self) -> dict[str, FamilyOptions]:
        return self._named(self.DECODERS)

    def length_choices(self) -> LengthChoices | None:
        return self._among_lengths(self.decoder)


@dataclasses.dataclass(frozen=True)
class CMLMOptions(LengthOptions):
    """The conditional masked language model and mask-predict."""

    length_candidates: int = 3  # lengths decoded in parallel, chosen by the model's own confidence
    length_penalty: float = 1.0  # alpha in that choice
    iterations: int = 4  # passes of mask-predict; 1 is the fully masked pass alone
    deep_supervision: bool = False  # as of `vanilla`

    def __post_init__(self) -> None:
        positive(self, "iterations", "length_candidates")

    def decoders(self) -> dict[str, FamilyOptions]:
        return {"mask_predict": self, "single_pass": dataclasses.replace(self, iterations=1)}

    def length_choices(self) -> LengthChoices | None:
        return self._among_lengths("single_pass" if self.iterations == 1 else "mask_predict")


@dataclasses.dataclass(frozen=True)
class UpsampledOptions(FamilyOptions):
    """A family whose decoder starts from the source, each of its tokens spread over several positions."""

    factor: int = 2  # decoder positions of each source token; outputs have at most that many tokens

    def decoder_positions(self, source: int, target: int) -> int:
        return self.factor * source


@dataclasses.dataclass(frozen=True)
class CTCOptions(UpsampledOptions):
    """Connectionist temporal classification: the decoder positions are frames."""

    decoder: str = "greedy"  # the best path, collapsed; or beam, over exact prefix probabilities
    beam: int = 5  # of the beam decoder; N-best lists widen it to N
    # beam, and N-best lists: nats a token in the order of hypotheses; greedy: nats that the blank has less in
    # each frame. Either makes outputs longer.
    length_reward: float = 0.0
    deep_supervision: bool = False  # training: the loss is the mean of those of all decoder layers

    is_glanceable: ClassVar[bool] = True
    DECODERS: ClassVar[tuple[str, ...]] = ("greedy", "beam")

    @property
    def objectives(self) -> tuple[str, ...]:
        return OBJECTIVES

    def __post_init__(self) -> None:
        one_of("decoder", self.decoder, self.DECODERS)
        positive(self, "factor", "beam")

    def decoders(self) -> dict[str, FamilyOptions]:
        return self._named(self.DECODERS)

    def length_choices(self) -> LengthChoices:
        few, many = (-0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5), (0.0, 0.5, 1.0, 1.5, 2.0)
        return self._length_choices("length_reward", self.decoder, few if self.decoder == "beam" else many)


@dataclasses.dataclass(frozen=True)
class DAGOptions(UpsampledOptions):
    """The directed acyclic graph of DA-Transformer: the decoder positions are vertices."""

    factor: int = 4  # vertices of each source token
    max_jump: int | None = None  # vertices that a link may go ahead; None: all
    link_heads: int = 4  # attention-like heads whose mixture is the link distribution
    decoder: str = "joint_viterbi"  # greedy, lookahead, viterbi, joint_viterbi or beam
    length_exponent: float = 1.0  # beta of the Viterbi decoders: score / length^beta
    collapse_repeats: bool = False  # of equal neighbours only the first is kept; not by the beam
    beam: int = 5  # of the beam decoder; N-best lists widen it to N
    length_penalty: float = 0.0  # alpha of ((5 + length) / 6)^alpha in the order of a beam's hypotheses

    is_glanceable: ClassVar[bool] = True
    DECODERS: ClassVar[tuple[str, ...]] = ("greedy", "lookahead", "viterbi", "joint_viterbi", "beam")

    @property
    def objectives(self) -> tuple[str, ...]:
        return OBJECTIVES

    def __post_init__(self) -> None:
        one_of("decoder", self.decoder, self.DECODERS)
        positive(self, "factor", "max_jump", "link_heads", "beam")
        check(
            self.factor >= 2,
            lambda at: f"{at}factor={self.factor}: use 2 or more, a path needs a start and an end.",
        )
        check(
            self.max_jump is None or self.max_jump >= 2 * self.factor,
            lambda at: (
                f"{at}max_jump={self.max_jump}: use at least twice {at}factor={self.factor}, or a long "
                "source leaves no output within the last of data.buckets."
            ),
        )

    def decoders(self) -> dict[str, FamilyOptions]:
        return self._named(self.DECODERS)

    def length_choices(self) -> LengthChoices | None:
        """None of greedy and lookahead, which compare no paths of different lengths."""
        match self.decoder:
            case "beam":
                return self._length_choices("length_penalty", "beam", (0.0, 0.5, 1.0, 1.5, 2.0))
            case "viterbi" | "joint_viterbi":
                betas = (0.6, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4)
                return self._length_choices("length_exponent", self.decoder, betas)
            case _:
                return None


def families(*, parallel: bool) -> list[str]:
    """Those that a student can be of (`parallel`), or a teacher."""
    return [name for name, spec in FAMILIES.items() if spec.options.is_parallel == parallel]


def require_objective(option: str, objective: str, family: str, options: FamilyOptions) -> None:
    """UserError, for this option, where the family cannot be trained for the objective."""
    able = [name for name, spec in FAMILIES.items() if objective in spec.options().objectives]
    require(
        objective in options.objectives,
        f"{option}={objective}: the family {family} is trained for {' or '.join(options.objectives)} alone; "
        f"{' and '.join(able)} have it, and glat with one of them as its base.",
    )


def glanceable() -> dict[str, "FamilySpec"]:
    """The families that `glat` can train."""
    return {name: spec for name, spec in FAMILIES.items() if spec.options.is_glanceable and spec.parallel}


@dataclasses.dataclass(frozen=True)
class GLATOptions(FamilyOptions):
    """Glancing training of a base family; it decodes as the base does."""

    base: str = "vanilla"  # vanilla, ctc, dag or one from outside that is_glanceable
    # None: the base's defaults.
    base_options: FamilyOptions | None = dataclasses.field(
        default=None, metadata=named_by("base", glanceable)
    )
    start_ratio: float = 0.5  # of the wrong positions that are revealed at the first step
    end_ratio: float = 0.3  # the same from anneal_share on, and in all rounds that start warm
    anneal_share: float = 1.0  # of the training's steps, on the way from one ratio to the other

    def __post_init__(self) -> None:
        chosen_options("base", self.base, self.base_options, glanceable())
        each(self, ("anneal_share",), lambda value: 0 < value <= 1, "more than 0, at most 1")
        each(self, ("start_ratio", "end_ratio"), lambda value: 0 <= value <= 1, "a share from 0 to 1")

    def continued(self) -> FamilyOptions:
        """The ratio stays where the training before has brought it."""
        return dataclasses.replace(self, start_ratio=self.end_ratio, base_options=self.of_base.continued())

    @property
    def of_base(self) -> FamilyOptions:
        """The base's options, its defaults where none are given."""
        return chosen_options("base", self.base, self.base_options, glanceable())

    @property
    def length_penalty(self) -> float:
        return self.of_base.length_penalty

    @property
    def length_candidates(self) -> int | None:
        return self.of_base.length_candidates

    @property
    def objectives(self) -> tuple[str, ...]:
        return self.of_base.objectives

    @property
    def deep_supervision(self) -> bool:
        return self.of_base.deep_supervision

    def decoder_positions(self, source: int, target: int) -> int:
        return self.of_base.decoder_positions(source, target)

    def with_length_candidates(self, count: int, family: str) -> FamilyOptions:
        changed = self.of_base.with_length_candidates(count, self.base)
        return dataclasses.replace(self, base_options=changed)

    def decoders(self) -> dict[str, FamilyOptions]:
        found = self.of_base.decoders()
        return {name: dataclasses.replace(self, base_options=base) for name, base in found.items()}

    def with_decoder(self, name: str, family: str) -> FamilyOptions:
        return dataclasses.replace(self, base_options=self.of_base.with_decoder(name, self.base))

    def length_choices(self) -> LengthChoices | None:
        found = self.of_base.length_choices()
        return found and dataclasses.replace(
            found, options=dataclasses.replace(self, base_options=found.options)
        )

    def with_length(self, value: float) -> FamilyOptions:
        return dataclasses.replace(self, base_options=self.of_base.with_length(value))


class FamilySpec(NamedTuple):
    """A line of the table: the options of a family, and the functions that make it of sizes and options."""

    options: type[FamilyOptions]
    make: Callable[[Any, Any], Any]  # (TransformerSpec, its options) -> families.Family
    # The same -> families.Parallel, the parts of a family with one pass over all positions; else None.
    parallel: Callable[[Any, Any], Any] | None = None
    # (Graph, TransformerSpec, its options, parameters, Inputs) -> tokens, as in export.vanilla, or None.
    graph: Callable[..., Any] | None = None
    # As `parallel` -> families.Verify, of a family that goes step by step and checks drafts; else None.
    verify: Callable[[Any, Any], Any] | None = None
    # As `parallel` -> families.Redraft or None, of a family that was trained to see some of the target.
    redraft: Callable[[Any, Any], Any] | None = None


def _built_in(options: type[FamilyOptions], name: str, graph: str = "", redrafts: bool = False) -> FamilySpec:
    """A line of this package; `graph` is module and function in emnat_jax/export."""
    module = f"emnat_jax.families.{name}"
    parallel = deferred(module, "parts") if options.is_parallel else None
    exported = graph and deferred(*f"emnat_jax.export.{graph}".rsplit(".", 1))
    verify = None if options.is_parallel else deferred(module, "make_verify")
    redraft = deferred(module, "make_redraft") if redrafts else None
    return FamilySpec(options, deferred(module, "make"), parallel, exported or None, verify, redraft)


FAMILIES: dict[str, FamilySpec] = {
    "ar": _built_in(AROptions, "ar"),
    "vanilla": _built_in(VanillaOptions, "vanilla", "vanilla.translate"),
    "cmlm": _built_in(CMLMOptions, "cmlm", "vanilla.translate_masked", redrafts=True),
    "glat": _built_in(GLATOptions, "glat", "glat.translate", redrafts=True),
    "ctc": _built_in(CTCOptions, "ctc", "ctc.translate"),
    "dag": _built_in(DAGOptions, "dag", "dag.translate"),
}
