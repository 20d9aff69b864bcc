"""Options of the EM rounds and of their E-step."""

import dataclasses
from typing import Any

from emnat_jax.config.checks import check, each, one_of, positive
from emnat_jax.config.finetune import FinetuneConfig
from emnat_jax.config.groups import chosen_options, named_by
from emnat_jax.config.rules import RULES


@dataclasses.dataclass(frozen=True)
class SelectConfig:
    """The E-step: which candidates become the next round's targets (docs/method.md, section 6).

    `posterior` weighs them by p_student^alpha x p_teacher0^beta x exp(quality_weight x quality against the
    reference).
    """

    # A key of RULES: student_top1 (the paper), teacher_top1 (plain distillation), posterior.
    rule: str = "posterior"
    # Those of a rule that brings its own; None: its defaults.
    options: Any = dataclasses.field(default=None, metadata=named_by("rule", lambda: RULES))
    alpha: float = 1.0  # of log p_student
    beta: float = 1.0  # of log p_teacher of round 0
    quality_weight: float = 10.0  # of the quality, which is between 0 and 1
    quality: str = "chrf"  # of a sentence: chrf (chrF++) or bleu
    include_reference: bool = True  # the reference is one more candidate
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
        if not self.quality_weight:  # without one is what the other rules are
            changed = [name for name in changed if name != "quality_weight"]
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
        rule = RULES[self.rule]
        return (rule.is_distribution and weighs) or rule.needs_quality

    @property
    def rule_options(self) -> Any:
        """The rule's own options, its defaults where none are given; None for a rule that has none."""
        return chosen_options("rule", self.rule, self.options, RULES)


@dataclasses.dataclass(frozen=True)
class EMConfig:
    """The rounds (docs/method.md, section 5)."""

    rounds: int = 1  # EM rounds after round 0
    candidates: int = 4  # N, best translations of each source, of each model in candidates_from
    samples: int = 0  # further candidates after them, drawn from the teacher (docs/method.md, section 10.2.1)
    temperature: float = 1.0  # of these draws: p^(1/temperature), normalised anew at each token
    # The teacher's; ("teacher", "student"): the student's own after them; ("student",): the student's alone.
    candidates_from: tuple[str, ...] = ("teacher",)
    # False: a frozen teacher, whose lists of round 0 serve all E-steps; their first is what the student of
    # round 0 learns from, later ones learn from what was selected.
    update_teacher: bool = False
    rows: int | None = None  # E-steps take the first lines, the others keep their targets; None: all
    # What students learn from: selected (the choices; of round 0 the teacher's first), distilled (the newest
    # teacher's outputs), raw (the corpus), or candidates: the teacher's N best, the E-step inside the loss
    # (docs/method.md, section 6.7). The paper's loop is distilled with update_teacher.
    student_data: str = "selected"
    # student_data=candidates: a target's prior share is proportional to p_teacher^prior_beta; 0: equal.
    prior_beta: float = 1.0
    share_encoder: bool = True  # a new student starts from the teacher's embeddings and encoder
    warm_start: bool = True  # later rounds start from the last round's weights, not anew
    # What later rounds that start warm take over beside the weights: continued, the moments of the optimiser
    # and the place in the learning-rate schedule; new, neither, so that they warm up again.
    later_optimizer: str = "continued"
    # Steps, and peak rate, of later rounds that start warm, as a share of round 0's; the others have as many.
    later_steps_ratio: float = 5.0
    later_lr_ratio: float = 1.0
    # Beside each later student a second one with as many steps on what the student of round 0 learned from.
    control: bool = True
    # F > 1: cross-fitting. F more students each learn without a share of the lines, and E-steps score each
    # line with the one that has not seen it (docs/method.md, section 6.8).
    folds: int = 1
    stop_min_gain: float | None = None  # stop when valid BLEU rises by less; the paper-like value is 0.1
    # Stop if choices fall this many nats per token below round 0's best in log p_teacher0, e.g. 0.05.
    stop_max_drift: float | None = None
    finetune: FinetuneConfig = FinetuneConfig()

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
        one_of("later_optimizer", self.later_optimizer, ("continued", "new"))
        # Students add to a list that there is before them, that of a frozen teacher.
        both = () if self.update_teacher else (("teacher", "student"),)
        check(
            self.student_data != "candidates" or self.candidates_from in (("teacher",), *both),
            lambda at: f"{at}student_data=candidates: set {at}candidates_from=('teacher',).",
        )
        check(
            self.update_teacher or self.rounds == 0 or self.student_data not in ("distilled", "raw"),
            lambda at: (
                f"{at}student_data={self.student_data}: with a frozen teacher no model learns what E-steps "
                f"choose; set {at}rounds=0, {at}update_teacher=True, or {at}student_data=selected."
            ),
        )
        each(self, ("rounds", "samples", "prior_beta"), lambda value: value >= 0, "0 or more")
        positive(self, "candidates", "temperature", "rows", "later_steps_ratio", "later_lr_ratio", "folds")
        check(
            self.samples == 0 or "teacher" in self.candidates_from,
            lambda at: (
                f"{at}samples={self.samples} are drawn from the teacher, which {at}candidates_from="
                f"{self.candidates_from} leaves out; set {at}candidates_from=('teacher',), or {at}samples=0."
            ),
        )
        check(
            self.samples > 0 or self.temperature == EMConfig.temperature,
            lambda at: f"{at}temperature={self.temperature} is that of {at}samples, of which there are none.",
        )
        fits = self.candidates_from == ("teacher",) and self.student_data in ("distilled", "selected")
        check(
            self.folds == 1 or fits,
            lambda at: (
                f"{at}folds={self.folds} is for the teacher's list and students that learn one target of a "
                f"line; set {at}candidates_from=('teacher',) and {at}student_data=selected, or distilled."
            ),
        )
        check(
            self.rows is None or self.folds <= self.rows,
            lambda at: f"{at}folds={self.folds}: use at most {at}rows={self.rows}, else folds are empty.",
        )
