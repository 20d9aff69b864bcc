"""One model: what a user may leave open, and the resolved numbers that the layers above receive."""

import dataclasses
from typing import Any

from emnat_jax.config.checks import check, each, one_of, positive
from emnat_jax.config.families import FAMILIES, FamilyOptions
from emnat_jax.config.groups import chosen_options, named_by

SIZES = {  # encoder layers, decoder layers, width, feed-forward width, heads
    "tiny": (2, 2, 128, 512, 4),
    "small": (5, 5, 256, 1024, 4),
    "base": (6, 6, 512, 2048, 8),
    "large": (6, 6, 1024, 4096, 16),
}
_DIMENSIONS = ("encoder_layers", "decoder_layers", "width", "ff_width", "heads")
_MOST = 1 << 20  # of each; far larger ones end the process inside of the compiler


@dataclasses.dataclass(frozen=True)
class TransformerSpec:
    """The sizes and numerics of one Transformer, every number resolved. `ModelConfig` says what each is."""

    vocab_size: int
    max_length: int  # tokens, EOS included
    encoder_layers: int
    decoder_layers: int  # of this family
    width: int
    ff_width: int
    heads: int
    norm: str
    positions: str
    dropout: float
    attention_dropout: float
    ff_dropout: float
    label_smoothing: float
    dtype: str
    attention: str
    scan_layers: bool
    remat: bool
    extra_length: int
    activation: str = "relu"  # models of before do not name it
    init: str = "glorot"

    def __post_init__(self) -> None:
        _require_whole_heads(self.width, self.heads)

    def output_length(self, source_width: int) -> int:
        """The most tokens of an output, EOS included, for sources padded to `source_width`."""
        return min(self.max_length, source_width + self.extra_length)


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """One resolved model: what a finished model's manifest holds, and what its functions are made of."""

    family: str  # a key of FAMILIES
    options: FamilyOptions = dataclasses.field(metadata=named_by("family", lambda: FAMILIES))
    transformer: TransformerSpec

    def __post_init__(self) -> None:
        chosen_options("family", self.family, self.options, FAMILIES)

    def with_decoder(self, name: str) -> "ModelSpec":
        """The same with another of its family's decoders; UserError for one it does not have."""
        return dataclasses.replace(self, options=self.options.with_decoder(name, self.family))

    def with_length_candidates(self, count: int) -> "ModelSpec":
        """The same with this many lengths side by side; UserError where its family has no such option."""
        return dataclasses.replace(self, options=self.options.with_length_candidates(count, self.family))

    def with_sampling(self, temperature: float, seed: int) -> "ModelSpec":
        """The same that draws its outputs; UserError where its family draws none."""
        return dataclasses.replace(self, options=self.options.with_sampling(temperature, seed, self.family))

    def with_length(self, value: float) -> "ModelSpec":
        """The same with this value of the option that `options.length_choices` names."""
        return dataclasses.replace(self, options=self.options.with_length(value))


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """One model of p(target | source). `None` in a dimension means: what `size` says."""

    family: str = "ar"  # a key of FAMILIES
    # Those of the family; None: its defaults.
    options: FamilyOptions | None = dataclasses.field(
        default=None, metadata=named_by("family", lambda: FAMILIES)
    )
    size: str = "tiny"
    encoder_layers: int | None = None
    # Of the autoregressive family; parallel ones have one more (docs/method.md, section 8.3).
    decoder_layers: int | None = None
    width: int | None = None
    ff_width: int | None = None
    heads: int | None = None
    norm: str = "pre"  # pre or post
    positions: str = "learned"  # learned or sinusoidal
    dropout: float = 0.1  # on embeddings and sublayer outputs
    attention_dropout: float | None = None  # on attention weights; None: as dropout
    ff_dropout: float | None = None  # inside the feed-forward layer; None: as dropout
    label_smoothing: float = 0.1  # uniform over all generable classes, the gold one included
    dtype: str = "float32"  # of matrix products; parameters and softmax stay float32
    attention: str = "xla"  # or cudnn: CUDA's fused kernel, for bfloat16 and no attention_dropout
    scan_layers: bool = False  # one compiled layer body instead of one a layer
    remat: bool = False  # recompute activations in the backward pass
    extra_length: int = 6  # outputs are at most this much longer than the padded source
    activation: str = TransformerSpec.activation  # of the feed-forward layers: relu or gelu
    init: str = TransformerSpec.init  # of matrices and embeddings: glorot, or normal (deviation 0.02)

    def __post_init__(self) -> None:
        chosen_options("family", self.family, self.options, FAMILIES)
        one_of("size", self.size, tuple(SIZES))
        one_of("norm", self.norm, ("pre", "post"))
        one_of("positions", self.positions, ("learned", "sinusoidal"))
        one_of("activation", self.activation, ("relu", "gelu"))
        one_of("init", self.init, ("glorot", "normal"))
        one_of("dtype", self.dtype, ("float32", "bfloat16"))
        one_of("attention", self.attention, ("xla", "cudnn"))
        check(
            self.attention == "xla" or (self.dtype == "bfloat16" and self.attention_dropout == 0),
            lambda at: (
                f"{at}attention=cudnn: its kernel has neither float32 nor dropout; set "
                f"{at}dtype=bfloat16 and {at}attention_dropout=0.0."
            ),
        )
        shares = ("dropout", "attention_dropout", "ff_dropout", "label_smoothing")
        each(self, shares, lambda value: 0 <= value < 1, "a number from 0 to below 1")
        positive(self, "encoder_layers", "width", "ff_width", "heads")
        each(self, (*_DIMENSIONS, "extra_length"), lambda value: value <= _MOST, f"a number up to {_MOST:,}")
        each(self, ("decoder_layers", "extra_length"), lambda value: value >= 0, "0 or more")
        sizes = self._sizes()
        _require_whole_heads(sizes["width"], sizes["heads"])

    @property
    def family_options(self) -> FamilyOptions:
        """The options of the family, its defaults where none are given."""
        return chosen_options("family", self.family, self.options, FAMILIES)

    def _sizes(self) -> dict[str, int]:
        """The dimensions: those given, the others as `size` says."""
        sizes = dict(zip(_DIMENSIONS, SIZES[self.size], strict=True))
        return {
            name: size if (given := getattr(self, name)) is None else given for name, size in sizes.items()
        }

    def resolve(self, vocab_size: int, max_length: int) -> ModelSpec:
        """The model for a vocabulary and a longest sequence, with a number for everything left open."""
        options = self.family_options
        of_dropout = {"attention_dropout": self.dropout, "ff_dropout": self.dropout}
        fields = {field.name for field in dataclasses.fields(TransformerSpec)}
        given = {name: value for name, value in vars(self).items() if name in fields and value is not None}
        numbers: dict[str, Any] = of_dropout | given | self._sizes()
        numbers["decoder_layers"] += options.extra_decoder_layers
        transformer = TransformerSpec(vocab_size=vocab_size, max_length=max_length, **numbers)
        return ModelSpec(self.family, options, transformer)


def _require_whole_heads(width: int, heads: int) -> None:
    check(width % heads == 0, lambda at: f"{at}width={width} does not divide by {at}heads={heads}.")
