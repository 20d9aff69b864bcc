"""Options of one model: sizes, numerics, and a dataclass for each family."""

import dataclasses

from emnat_jax.config.checks import one_of, positive
from emnat_jax.errors import require


@dataclasses.dataclass(frozen=True)
class ARConfig:
    """Decoding of the autoregressive family."""

    beam: int = 1  # 1 is greedy search; N-best lists widen it to N
    length_penalty: float = 1.8  # alpha of ((5 + length) / 6)^alpha, tuned on the valid split of the demo


@dataclasses.dataclass(frozen=True)
class VanillaConfig:
    """Loss and decoding of the position-wise non-autoregressive family."""

    decoder: str = "odd"  # odd or argmax
    odd_penalty: float | None = None  # nats taken off for two equal neighbours; None forbids them
    length_candidates: int = 1  # lengths decoded in parallel, chosen by the model's own score
    length_penalty: float = 0.0  # alpha in that choice
    length_loss_weight: float = 0.1

    def __post_init__(self):
        one_of("vanilla.decoder", self.decoder, ("odd", "argmax"))
        positive("vanilla", self, "length_candidates")
        require(
            self.odd_penalty is None or self.odd_penalty >= 0,
            f"vanilla.odd_penalty={self.odd_penalty}: use None or a number of at least 0.",
        )


@dataclasses.dataclass(frozen=True)
class CMLMConfig:
    """The conditional masked language model and mask-predict; the weight of its length loss is `vanilla`'s."""

    iterations: int = 4  # passes of mask-predict; 1 is the fully masked pass alone
    length_candidates: int = 3  # lengths decoded in parallel, chosen by the model's own confidence
    length_penalty: float = 1.0  # alpha in that choice

    def __post_init__(self):
        positive("cmlm", self, "iterations", "length_candidates")


@dataclasses.dataclass(frozen=True)
class CTCConfig:
    """Connectionist temporal classification over an upsampled source."""

    factor: int = 2  # frames of each source token; outputs have at most that many tokens
    decoder: str = "beam"  # greedy (the best path, collapsed) or beam (over exact prefix probabilities)
    beam: int = 5  # of the beam decoder; N-best lists widen it to N
    length_reward: float = 0.0  # nats a token in the order of a beam's hypotheses

    def __post_init__(self):
        one_of("ctc.decoder", self.decoder, ("greedy", "beam"))
        positive("ctc", self, "factor", "beam")


@dataclasses.dataclass(frozen=True)
class DAGConfig:
    """The directed acyclic graph of DA-Transformer over an upsampled source."""

    factor: int = 4  # vertices of each source token
    max_jump: int | None = None  # vertices that a link may go ahead; None: all
    link_heads: int = 4  # attention-like heads whose mixture is the link distribution
    decoder: str = "joint_viterbi"  # greedy, lookahead, viterbi, joint_viterbi or beam
    length_exponent: float = 1.0  # beta of the Viterbi decoders: score / length^beta
    beam: int = 5  # of the beam decoder; N-best lists widen it to N
    length_penalty: float = 0.0  # alpha of ((5 + length) / 6)^alpha in the order of a beam's hypotheses

    def __post_init__(self):
        one_of("dag.decoder", self.decoder, ("greedy", "lookahead", "viterbi", "joint_viterbi", "beam"))
        positive("dag", self, "factor", "max_jump", "link_heads", "beam")
        require(
            self.factor >= 2, f"dag.factor={self.factor}: use 2 or more, a path needs a start and an end."
        )
        require(
            self.max_jump is None or self.max_jump >= 2 * self.factor,
            f"dag.max_jump={self.max_jump}: use at least twice dag.factor={self.factor}, or a long source "
            "leaves no output within model.max_length.",
        )


@dataclasses.dataclass(frozen=True)
class GLATConfig:
    """Glancing training of another family."""

    base: str = "vanilla"  # vanilla, ctc or dag
    start_ratio: float = 0.5  # of the wrong positions that are revealed at step 0
    end_ratio: float = 0.3  # the same from anneal_steps on
    anneal_steps: int = 1_000

    def __post_init__(self):
        one_of("glat.base", self.base, ("vanilla", "ctc", "dag"))
        positive("glat", self, "anneal_steps")
        for name in ("start_ratio", "end_ratio"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"glat.{name}={value}: use a share from 0 to 1.")


SIZES = {  # encoder layers, decoder layers, width, feed-forward width, heads
    "tiny": (2, 2, 128, 512, 4),
    "small": (5, 5, 256, 1024, 4),
    "base": (6, 6, 512, 2048, 8),
    "large": (6, 6, 1024, 4096, 16),
}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """One model of p(target | source). `None` in a dimension means: what `size` says."""

    family: str = "ar"  # a key of families.FAMILIES
    size: str = "tiny"
    encoder_layers: int | None = None
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
    attention: str = (
        "xla"  # or cudnn: the fused kernel of CUDA devices, for bfloat16 and no attention_dropout
    )
    scan_layers: bool = False  # one compiled layer body instead of one a layer
    remat: bool = False  # recompute activations in the backward pass
    max_length: int | None = None  # None: the last of data.buckets
    vocab_size: int | None = None  # None: that of the vocabulary
    extra_length: int = 6  # outputs are at most this much longer than the padded source
    ar: ARConfig = ARConfig()
    vanilla: VanillaConfig = VanillaConfig()
    cmlm: CMLMConfig = CMLMConfig()
    ctc: CTCConfig = CTCConfig()
    dag: DAGConfig = DAGConfig()
    glat: GLATConfig = GLATConfig()

    def __post_init__(self):
        one_of("model.size", self.size, tuple(SIZES))
        one_of("model.norm", self.norm, ("pre", "post"))
        one_of("model.positions", self.positions, ("learned", "sinusoidal"))
        one_of("model.dtype", self.dtype, ("float32", "bfloat16"))
        one_of("model.attention", self.attention, ("xla", "cudnn"))
        require(
            self.attention == "xla" or (self.dtype == "bfloat16" and self.attention_dropout == 0),
            "model.attention=cudnn: its kernel has neither float32 nor dropout; set model.dtype=bfloat16 and "
            "model.attention_dropout=0.0.",
        )
        for name in ("dropout", "attention_dropout", "ff_dropout", "label_smoothing"):
            value = getattr(self, name)
            require(value is None or 0 <= value < 1, f"model.{name}={value}: use a number from 0 to below 1.")

    @property
    def decodes_as(self) -> str:
        """The family whose decoders (and options of that name) this one uses."""
        return self.glat.base if self.family == "glat" else self.family

    def with_options(self, family: str, **changes) -> "ModelConfig":
        """The same with other options in the group of `family`."""
        return dataclasses.replace(self, **{family: dataclasses.replace(getattr(self, family), **changes)})

    def decoder_positions(self, source: int, target: int) -> int:
        """Positions that the decoder computes for padded widths of source and target."""
        factor = getattr(getattr(self, self.decodes_as), "factor", None)
        return target if factor is None else factor * source

    def resolve(self, vocab_size: int, max_length: int) -> "ModelConfig":
        """The same with every `None` replaced by the number it stands for."""
        names = ("encoder_layers", "decoder_layers", "width", "ff_width", "heads")
        filled = {n: v for n, v in zip(names, SIZES[self.size]) if getattr(self, n) is None}
        for name in ("attention_dropout", "ff_dropout"):
            if getattr(self, name) is None:
                filled[name] = self.dropout
        resolved = dataclasses.replace(
            self,
            **filled,
            vocab_size=vocab_size if self.vocab_size is None else self.vocab_size,
            max_length=max_length if self.max_length is None else self.max_length,
        )
        require(
            resolved.width % resolved.heads == 0,
            f"model.width={resolved.width} does not divide by model.heads={resolved.heads}.",
        )
        return resolved
