"""Options of evaluation and the mesh, and the whole program."""

import dataclasses
from typing import NamedTuple

from emnat_jax.config.checks import each, one_of, positive
from emnat_jax.config.data import DataConfig, VocabConfig
from emnat_jax.config.em import EMConfig, SelectConfig
from emnat_jax.config.families import families, require_objective
from emnat_jax.config.model import ModelConfig
from emnat_jax.config.rules import RULES
from emnat_jax.config.scoring import TOKENIZERS, Scoring, tokenizer_for
from emnat_jax.config.training import OptimConfig, TrainConfig
from emnat_jax.errors import require

AXES = ("data", "fsdp", "model")  # of the mesh
ROLES = ("teacher", "student")


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

    def __post_init__(self) -> None:
        positive(self, "data", "fsdp", "model")


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
        family="ctc", encoder_layers=3, decoder_layers=1, dropout=0.0, label_smoothing=0.0
    )
    teacher_train: TrainConfig = TrainConfig(steps=900, optim=OptimConfig(method="muon"))
    student_train: TrainConfig = TrainConfig(steps=150, tune_length=True, optim=OptimConfig(method="muon"))
    em: EMConfig = EMConfig()
    select: SelectConfig = SelectConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    mesh: MeshConfig = MeshConfig()

    def __post_init__(self) -> None:
        require(self.seed >= 0, f"seed={self.seed}: use 0 or more.")
        for role, model in (("teacher", self.teacher), ("student", self.student)):
            of_role = families(parallel=role == "student")
            require(
                model.family in of_role,
                f"{role}.family={model.family} is not for a {role}; use {' or '.join(of_role)}.",
            )
            objective = getattr(self, f"{role}_train").objective
            require_objective(f"{role}_train.objective", objective, model.family, model.family_options)
        if self.em.finetune.steps is not None:
            _require_finetune(self.em, self.student)
        if self.em.samples:
            self.teacher.family_options.with_sampling(self.em.temperature, self.seed, self.teacher.family)
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
            "from the corpus alone; use em.student_data=selected, or leave it out.",
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


def _require_finetune(em: EMConfig, student: ModelConfig) -> None:
    """UserError where the student cannot be trained for em.finetune, or the last round is not known."""
    tuned = em.finetune
    require_objective("em.finetune.objective", tuned.objective, student.family, student.family_options)
    rules = [f"em.{name}" for name in ("stop_min_gain", "stop_max_drift") if getattr(em, name) is not None]
    require(
        not rules,
        f"em.finetune.steps={tuned.steps}: with {' and '.join(rules)} the last round is not known before it "
        "ends; leave the rule out, or train on when all is done: emnat train --start=STUDENT "
        f"--objective={tuned.objective}.",
    )
