"""Every option of the program and its default, the quickstart's. A default is written nowhere else."""

import dataclasses

from emnat_jax.errors import require


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    require(value in choices, f"{name}={value!r}: choose one of {', '.join(choices)}.")


def _positive(group: str, options, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        require(value is None or value > 0, f"{group}.{name}={value}: use a positive number.")


@dataclasses.dataclass(frozen=True)
class ModesConfig:
    """The generated multi-modal task (`data.kind=modes`)."""

    modes: int = 4  # valid translations of a sentence: synonym styles x 2 word orders
    words: int = 24  # different source words
    min_length: int = 3  # words in a sentence
    max_length: int = 6
    train_rows: int = 4_000
    eval_rows: int = 300

    def __post_init__(self):
        require(
            self.modes == 1 or (self.modes >= 2 and self.modes % 2 == 0),
            f"data.modes.modes={self.modes}: use 1 or an even number (styles x 2 word orders).",
        )
        require(
            1 <= self.min_length <= self.max_length,
            f"data.modes.min_length={self.min_length} must be from 1 to data.modes.max_length={self.max_length}.",
        )
        require(
            self.words >= max(2, self.max_length),
            f"data.modes.words={self.words}: use at least data.modes.max_length={self.max_length}.",
        )


@dataclasses.dataclass(frozen=True)
class VocabConfig:
    """The joint SentencePiece vocabulary."""

    size: int = 4_000  # pieces, specials included; fewer where the text supports no more
    model: str = "bpe"  # bpe, unigram, word or char
    character_coverage: float = 1.0
    byte_fallback: bool = True  # spell unseen characters in bytes instead of UNK

    def __post_init__(self):
        _one_of("vocab.model", self.model, ("bpe", "unigram", "word", "char"))
        require(self.size > 8, f"vocab.size={self.size}: use more than 8.")


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where the text comes from and how it is cut into batches."""

    kind: str = "demo"  # demo, text, tfds or modes
    source_language: str = "de"
    target_language: str = "en"
    root: str | None = None  # folder that relative paths start from; else EMNAT_DATA, else here
    train_source: str | None = None  # kind=text: files of one sentence a line, .gz or not
    train_target: str | None = None
    valid_source: str | None = None
    valid_target: str | None = None
    test_source: str | None = None
    test_target: str | None = None
    tfds: str | None = None  # kind=tfds: a data set's name, e.g. wmt14_translate/de-en
    tfds_dir: str | None = None  # where tensorflow-datasets keeps its files
    train_rows: int | None = 40_000  # use the first lines only; None: all
    buckets: tuple[int, ...] = (12, 24)  # widths in tokens, EOS included; longer rows are dropped
    batch_tokens: int = 1_024  # rows x width of a training batch, padding counted
    decode_rows: int = 256  # rows of a decoding or scoring batch
    rows_per_shard: int = 16_384  # lines of the corpus to one record file
    modes: ModesConfig = ModesConfig()

    def __post_init__(self):
        _one_of("data.kind", self.kind, ("demo", "text", "tfds", "modes"))
        increasing = all(a < b for a, b in zip((1, *self.buckets), self.buckets))
        require(
            bool(self.buckets) and increasing,
            f"data.buckets={self.buckets}: give increasing widths of at least 2 tokens.",
        )
        _positive("data", self, "batch_tokens", "decode_rows", "rows_per_shard", "train_rows")

    @property
    def max_length(self) -> int:
        """Longest sequence in tokens, EOS included."""
        return self.buckets[-1]


@dataclasses.dataclass(frozen=True)
class ARConfig:
    """Decoding of the autoregressive family."""

    beam: int = 1  # 1 is greedy search; N-best lists widen it to N
    length_penalty: float = 1.8  # alpha of ((5 + length) / 6)^alpha, tuned on the valid split of the demo


@dataclasses.dataclass(frozen=True)
class NARConfig:
    """Loss and decoding of the position-wise non-autoregressive family."""

    decoder: str = "odd"  # odd or argmax
    odd_penalty: float | None = None  # nats taken off for two equal neighbours; None forbids them
    length_candidates: int = 1  # lengths decoded in parallel, chosen by the model's own score
    length_penalty: float = 0.0  # alpha in that choice
    length_loss_weight: float = 0.1

    def __post_init__(self):
        _one_of("nar.decoder", self.decoder, ("odd", "argmax"))
        _positive("nar", self, "length_candidates")
        require(
            self.odd_penalty is None or self.odd_penalty >= 0,
            f"nar.odd_penalty={self.odd_penalty}: use None or a number of at least 0.",
        )


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
    scan_layers: bool = False  # one compiled layer body instead of one a layer
    remat: bool = False  # recompute activations in the backward pass
    max_length: int | None = None  # None: the last of data.buckets
    vocab_size: int | None = None  # None: that of the vocabulary
    extra_length: int = 6  # outputs are at most this much longer than the padded source
    ar: ARConfig = ARConfig()
    nar: NARConfig = NARConfig()

    def __post_init__(self):
        _one_of("model.size", self.size, tuple(SIZES))
        _one_of("model.norm", self.norm, ("pre", "post"))
        _one_of("model.positions", self.positions, ("learned", "sinusoidal"))
        _one_of("model.dtype", self.dtype, ("float32", "bfloat16"))
        for name in ("dropout", "attention_dropout", "ff_dropout", "label_smoothing"):
            value = getattr(self, name)
            require(value is None or 0 <= value < 1, f"model.{name}={value}: use a number from 0 to below 1.")

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


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """AdamW and its schedule."""

    schedule: str = "inverse_sqrt"  # inverse_sqrt, cosine or paper (METHOD 1.7)
    peak_lr: float = 3e-3  # reached after warmup_steps; for `paper` the base rate, e.g. 0.1
    warmup_steps: int = 150
    b1: float = 0.9
    b2: float = 0.98
    eps: float = 1e-9
    weight_decay: float = 0.01  # on matrices only
    clip_norm: float = 1.0

    def __post_init__(self):
        _one_of("optim.schedule", self.schedule, ("inverse_sqrt", "cosine", "paper"))
        _positive("optim", self, "peak_lr", "warmup_steps")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """One training run."""

    steps: int = 900
    accumulate: int = 1  # micro-batches an update
    ema_decay: float | None = 0.99  # weights of the exponential average that is used; None: the last
    log_every: int = 50  # steps
    eval_every: int = 300  # steps between losses on the valid split
    checkpoint_every: int = 300  # steps
    patience: int | None = None  # evaluations without a better valid loss before stopping
    optim: OptimConfig = OptimConfig()

    def __post_init__(self):
        _positive(
            "train", self, "steps", "accumulate", "log_every", "eval_every", "checkpoint_every", "patience"
        )
        require(
            self.ema_decay is None or 0 < self.ema_decay < 1,
            f"train.ema_decay={self.ema_decay}: use None or a number between 0 and 1.",
        )


@dataclasses.dataclass(frozen=True)
class SelectConfig:
    """The E-step: which candidate becomes the next teacher's target (METHOD 5.1)."""

    rule: str = "posterior"  # nar_top1 (the paper), ar_top1 (plain distillation) or posterior
    alpha: float = 1.0  # posterior: weight of log p_NAR
    beta: float = 1.0  # posterior: weight of log p_AR of round 0
    normalise_length: bool = True  # scores a token instead of a sentence

    def __post_init__(self):
        _one_of("select.rule", self.rule, ("nar_top1", "ar_top1", "posterior"))


@dataclasses.dataclass(frozen=True)
class EMConfig:
    """The rounds (METHOD 1.4, 1.5)."""

    rounds: int = 2  # EM rounds after round 0
    candidates: int = 4  # N, the teacher's best translations of each source
    rows: int | None = 3_000  # E-steps take the first lines, the others keep their targets; None: all
    nar_data: str = "ar_top1"  # ar_top1 or selected: what later students learn from
    share_encoder: bool = True  # the first student starts from the teacher's embeddings and encoder
    warm_start: bool = True  # later rounds start from the last round's weights
    later_steps_ratio: float = 0.1  # share of train.steps in later rounds
    later_lr_ratio: float = 0.25  # share of optim.peak_lr in later rounds
    stop_min_gain: float | None = None  # stop when valid BLEU rises by less; the paper-like value is 0.1
    stop_max_drift: float | None = None  # stop when log p_AR0 a token of the choices falls by more nats; 0.05

    def __post_init__(self):
        _one_of("em.nar_data", self.nar_data, ("ar_top1", "selected"))
        require(self.rounds >= 0, f"em.rounds={self.rounds}: use 0 or more.")
        _positive("em", self, "candidates", "rows", "later_steps_ratio", "later_lr_ratio")


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """What a round reports."""

    ncm_rows: int = 2_000  # rows of each split that NCM and AR NLL are measured on
    rescored_candidates: int = 3  # student hypotheses that the first teacher chooses from; 0: do not
    samples: int = 8  # example translations in the report

    def __post_init__(self):
        _positive("evaluation", self, "ncm_rows")
        for name in ("rescored_candidates", "samples"):
            require(getattr(self, name) >= 0, f"evaluation.{name}={getattr(self, name)}: use 0 or more.")


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """How devices are laid out. `None`: all that are left."""

    data: int | None = None
    fsdp: int = 1
    model: int = 1


@dataclasses.dataclass(frozen=True)
class Config:
    """The whole program."""

    seed: int = 1
    data: DataConfig = DataConfig()
    vocab: VocabConfig = VocabConfig()
    teacher: ModelConfig = ModelConfig(encoder_layers=3, decoder_layers=1, dropout=0.0)
    student: ModelConfig = ModelConfig(family="nar", encoder_layers=3, decoder_layers=1, dropout=0.0)
    teacher_train: TrainConfig = TrainConfig()
    student_train: TrainConfig = TrainConfig(steps=1_000)
    em: EMConfig = EMConfig()
    select: SelectConfig = SelectConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    mesh: MeshConfig = MeshConfig()
