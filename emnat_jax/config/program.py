"""Options of the EM rounds and evaluation, and the whole program."""

import dataclasses
from typing import Any, NamedTuple

from emnat_jax.config.checks import check, each, one_of, positive
from emnat_jax.config.data import DataConfig, VocabConfig
from emnat_jax.config.groups import chosen_options, named_by
from emnat_jax.config.model import ModelConfig
from emnat_jax.config.rules import RULES
from emnat_jax.config.scoring import TOKENIZERS, Scoring, tokenizer_for
from emnat_jax.config.training import TrainConfig
from emnat_jax.errors import require

AXES = ("data", "fsdp", "model")  # of the mesh
ROLES = ("teacher", "student")


@dataclasses.dataclass(frozen=True)
class SelectConfig:
    """The E-step: which candidates become the next round's targets (docs/method.md, section 6).

    `posterior` weighs them by p_student^alpha x p_teacher0^beta x exp(quality_weight x quality against the
    reference).
    """

    rule: str = (
        "posterior"  # student_top1 (the paper), teacher_top1 (plain distillation), posterior; a key of RULES
    )
    options: Any = dataclasses.field(
        default=None, metadata=named_by("rule", lambda: RULES)
    )  # those of a rule that brings its own; None: its defaults
    alpha: float = 1.0  # of log p_student
    beta: float = 1.0  # of log p_teacher of round 0
    quality_weight: float = 0.0  # of the quality, which is between 0 and 1
    quality: str = "chrf"  # of a sentence: chrf (chrF++) or bleu
    include_reference: bool = False  # the reference is one more candidate
    # hard: the best; sampled: one by weight; weighted: all with at least 1% of the best weight.
    output: str = "hard"
    normalise_length: bool = True  # scores a token instead of a sentence
    min_quality: float | None = None  # quality_weight is raised until the mean quality is at least this
    # beta is raised until the mean drop in log p_teacher0 from the teacher's best is at most this many nats,
    # per token with normalise_length, else per sentence.
    max_drift: float | None = None

    def __post_init__(self) -> None:
        chosen_options("rule", self.rule, self.options, RULES)
        one_of("quality", self.quality, ("chrf", "bleu"))
        one_of("output", self.output, ("hard", "sampled", "weighted"))
        each(self, ("min_quality",), lambda value: 0 <= value <= 1, "None or a number from 0 to 1")
        each(self, ("max_drift",), lambda value: value >= 0, "None or nats, 0 or more")
        check(
            self.min_quality is None or self.max_drift is None,
            lambda at: f"{at}min_quality and {at}max_drift each determine a weight; set one of them.",
        )
        of_distributions = ["alpha", "beta", "quality_weight", "output", "min_quality", "max_drift"]
        of_distributions += [] if RULES[self.rule].needs_quality else ["quality"]
        changed = [name for name in of_distributions if getattr(self, name) != getattr(SelectConfig, name)]
        distributions = [name for name, spec in RULES.items() if spec.is_distribution]
        check(
            self.rule in distributions or not changed,
            lambda at: (
                f"{', '.join(at + name for name in changed)}: only {at}rule="
                f"{' or '.join(distributions)} has that."
            ),
        )
        check(
            self.quality == SelectConfig.quality or self.needs_quality,
            lambda at: (
                f"{at}quality={self.quality} weighs nothing; set {at}quality_weight or {at}min_quality."
            ),
        )

    @property
    def needs_quality(self) -> bool:
        """Whether candidates are compared with references."""
        weighs = self.quality_weight != 0 or self.min_quality is not None
        return weighs or RULES[self.rule].needs_quality

    @property
    def rule_options(self) -> Any:
        """The rule's own options, its defaults where none are given; None for a rule that has none."""
        return chosen_options("rule", self.rule, self.options, RULES)


@dataclasses.dataclass(frozen=True)
class EMConfig:
    """The rounds (docs/method.md, section 5)."""

    rounds: int = 2  # EM rounds after round 0
    candidates: int = 4  # N, best translations of each source, of each model in candidates_from
    # The teacher's; ("teacher", "student"): the student's own after them; ("student",): the student's alone.
    candidates_from: tuple[str, ...] = ("teacher",)
    # False: a frozen teacher, whose lists of round 0 serve all E-steps; their first is what the student of
    # round 0 learns from, later ones learn from what was selected.
    update_teacher: bool = True
    rows: int | None = 3_000  # E-steps take the first lines, the others keep their targets; None: all
    # What students learn from: distilled (the teacher's outputs), selected (later ones), raw (the corpus), or
    # candidates: the teacher's N best, the E-step inside the loss (docs/method.md, section 6.7).
    student_data: str = "distilled"
    # student_data=candidates: a target's prior share is proportional to p_teacher^prior_beta; 0: equal.
    prior_beta: float = 1.0
    share_encoder: bool = True  # the first student starts from the teacher's embeddings and encoder
    warm_start: bool = True  # later rounds start from the last round's weights
    later_steps_ratio: float = 0.1  # steps of later rounds, as a share of round 0's
    later_lr_ratio: float = 0.25  # peak rate of later rounds, as a share of round 0's
    # Beside each later student a second one with as many steps on what the student of round 0 learned from.
    control: bool = True
    stop_min_gain: float | None = None  # stop when valid BLEU rises by less; the paper-like value is 0.1
    # Stop if choices fall this many nats per token below round 0's best in log p_teacher0, e.g. 0.05.
    stop_max_drift: float | None = None

    def __post_init__(self) -> None:
        # Agreement and drift are counted from the best of the first: the teacher's, where there is one.
        check(
            self.candidates_from in (("teacher",), ("teacher", "student"), ("student",)),
            lambda at: (
                f"{at}candidates_from={self.candidates_from}: use ('teacher',), ('teacher', 'student') "
                "or ('student',)."
            ),
        )
        one_of("student_data", self.student_data, ("distilled", "selected", "raw", "candidates"))
        check(
            self.student_data != "candidates" or self.candidates_from == ("teacher",),
            lambda at: (
                f"{at}student_data=candidates takes the teacher's list; set {at}candidates_from=('teacher',)."
            ),
        )
        check(
            self.update_teacher or self.student_data in ("selected", "candidates"),
            lambda at: f"{at}update_teacher=False: set {at}student_data=selected, or candidates.",
        )
        each(self, ("rounds", "prior_beta"), lambda value: value >= 0, "0 or more")
        positive(self, "candidates", "rows", "later_steps_ratio", "later_lr_ratio")


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
