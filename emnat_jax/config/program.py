"""Options of training and evaluation, and the whole program."""

import dataclasses
from typing import NamedTuple

from emnat_jax.config.checks import each, one_of, positive
from emnat_jax.config.data import DataConfig, VocabConfig
from emnat_jax.config.em import EMConfig, SelectConfig
from emnat_jax.config.model import ModelConfig
from emnat_jax.config.rules import RULES
from emnat_jax.config.scoring import TOKENIZERS, Scoring, tokenizer_for
from emnat_jax.errors import require

AXES = ("data", "fsdp", "model")  # of the mesh
ROLES = ("teacher", "student")
BEST_BY = ("bleu", "loss", "distilled_loss")


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """AdamW and its schedule."""

    schedule: str = "inverse_sqrt"  # inverse_sqrt, cosine or paper (docs/method.md, section 11.2)
    peak_lr: float = 3e-3  # reached after warmup_steps; for `paper` the base rate, e.g. 0.1
    warmup_steps: int = 150
    b1: float = 0.9
    b2: float = 0.98
    eps: float = 1e-9
    weight_decay: float = 0.01  # on matrices only
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        one_of("schedule", self.schedule, ("inverse_sqrt", "cosine", "paper"))
        positive(self, "peak_lr", "warmup_steps")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """One training run."""

    steps: int = 870
    batch_tokens: int | None = None  # of a step, rows x width; None: data.batch_tokens
    accumulate: int = 1  # micro-batches that a batch is cut into
    ema_decay: float | None = 0.99  # decay of the weight average that is used; None: the last weights
    log_every: int = 50  # steps
    eval_every: int = 300  # steps between evaluations on the valid split
    checkpoint_every: int = 300  # steps
    patience: int | None = None  # evaluations without a better one before stopping
    average_best: int | None = None  # the mean of the weights of so many best evaluations is used
    # What makes an evaluation the best: bleu of the model's own outputs, loss on the references, or
    # distilled_loss on the outputs of the round's teacher. None: bleu where patience or average_best ask for
    # a best one, else the last weights are used, and nothing is translated.
    best_by: str | None = None
    best_rows: int | None = 1_000  # first sentences of the valid split that are translated for it; None: all
    optim: OptimConfig = OptimConfig()

    def __post_init__(self) -> None:
        positive(
            self,
            "steps",
            "batch_tokens",
            "accumulate",
            "log_every",
            "eval_every",
            "checkpoint_every",
            "patience",
            "average_best",
            "best_rows",
        )
        if self.best_by is not None:
            one_of("best_by", self.best_by, BEST_BY)
        each(self, ("ema_decay",), lambda value: 0 < value < 1, "None or a number between 0 and 1")

    @property
    def chosen_by(self) -> str | None:
        """What the checkpoint that is used is chosen by; None where the last one is used."""
        asked = self.patience is not None or self.average_best is not None
        return self.best_by or ("bleu" if asked else None)


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """What a round reports, and how outputs are compared with references."""

    # Of BLEU, and of all that is counted in tokens: 13a, intl, zh, ja-mecab, ko-mecab, char or none;
    # None: the one for data.target_language.
    tokenizer: str | None = None
    lowercase: bool = False  # BLEU, chrF++ and TER do not tell upper from lower case
    ter: bool = False  # also the translation edit rate; it takes longer than all other scores together
    ncm_rows: int = 1_000  # training rows that NCM and teacher NLL are measured on; of valid: all
    rescored_candidates: int = 3  # student hypotheses that the first teacher chooses from; 0: do not
    samples: int = 8  # example translations in the report

    def __post_init__(self) -> None:
        each(self, ("tokenizer",), lambda name: name in TOKENIZERS, f"None or one of {', '.join(TOKENIZERS)}")
        positive(self, "ncm_rows")
        each(self, ("rescored_candidates", "samples"), lambda value: value >= 0, "0 or more")


@dataclasses.dataclass(frozen=True)
class RulesConfig:
    """Which mesh axis each logical axis of a weight or an activation is spread over; None: whole everywhere.

    The rows of a batch are always spread over data and fsdp.
    """

    vocab: str | None = "model"
    mlp: str | None = "model"
    heads: str | None = "model"
    embed: str | None = "fsdp"  # of weights

    def __post_init__(self) -> None:
        each(self, tuple(vars(self)), lambda axis: axis in AXES, f"None or one of {', '.join(AXES)}")


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """How devices are laid out, and what is spread over them."""

    data: int | None = None  # copies of the model, each with its own rows; None: all devices that are left
    fsdp: int = 1  # devices that share out one copy's weights, each with its own rows
    model: int = 1  # devices that share out one copy's matrix products, all with the same rows
    rules: RulesConfig = RulesConfig()


class Role(NamedTuple):
    """What the configuration says of the teacher or the student."""

    model: ModelConfig
    train: TrainConfig


@dataclasses.dataclass(frozen=True)
class Config:
    """The whole program."""

    seed: int = 1
    data: DataConfig = DataConfig()
    vocab: VocabConfig = VocabConfig()
    teacher: ModelConfig = ModelConfig(encoder_layers=3, decoder_layers=1, dropout=0.0)
    student: ModelConfig = ModelConfig(
        family="vanilla", encoder_layers=3, decoder_layers=1, dropout=0.0, label_smoothing=0.0
    )
    teacher_train: TrainConfig = TrainConfig()
    student_train: TrainConfig = TrainConfig(steps=950)
    em: EMConfig = EMConfig()
    select: SelectConfig = SelectConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    mesh: MeshConfig = MeshConfig()

    def __post_init__(self) -> None:
        require(self.seed >= 0, f"seed={self.seed}: use 0 or more.")
        require(
            self.teacher_train.best_by != "distilled_loss",
            "teacher_train.best_by=distilled_loss: a teacher learns no teacher's outputs; use bleu or loss.",
        )
        of_list = RULES[self.select.rule].needs_teacher_list
        asked = f"select.rule={self.select.rule}" if of_list else "select.max_drift"
        require(
            "teacher" in self.em.candidates_from or not (of_list or self.select.max_drift is not None),
            f"{asked} looks at the teacher's best, which em.candidates_from={self.em.candidates_from} "
            "leaves out.",
        )
        require(
            self.data.mono_source is None or self.em.student_data != "raw",
            f"data.mono_source={self.data.mono_source} is for distillation, and em.student_data=raw learns "
            "from the corpus alone; use em.student_data=distilled, or leave it out.",
        )

    @property
    def scoring(self) -> Scoring:
        """How outputs are compared with references, by the target language where no option says it."""
        asked = self.evaluation
        tokenizer = asked.tokenizer or tokenizer_for(self.data.target_language)
        return Scoring(tokenizer, asked.lowercase, asked.ter)

    def role(self, name: str) -> Role:
        """The model and the training of the `teacher` or the `student`."""
        one_of("role", name, ROLES)
        return Role(getattr(self, name), getattr(self, f"{name}_train"))
