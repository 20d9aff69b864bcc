"""What a run reports, as types: eval.json of a round, report.json of them all.

`report/convert.py` writes them as JSON and reads them; field names are keys. Percentages are from 0
to 100, shares from 0 to 1, losses and log-probabilities in nats.
"""

import dataclasses

from emnat_jax.config import Config, SelectConfig
from emnat_jax.report.timings import Throughput, Timing

SYSTEMS = ("teacher", "student", "control", "student_rescored")  # what a round evaluates
TRAINED = ("teacher", "student", "control")  # those of them that are models of their own
SPLITS = ("valid", "test", "test_multi")  # the last: sentences with several references, data.test_multi


@dataclasses.dataclass(frozen=True)
class Scores:
    """The translations of one set of sentences, measured against its raw references."""

    bleu: float  # percent
    bleu_signature: str
    chrf: float  # chrF++, percent
    chrf_signature: str
    length_ratio: float  # tokens of the outputs over tokens of the first reference; tokens are BLEU's
    repeat_rate: float  # share of neighbouring tokens that are equal
    type_token_ratio: float  # different tokens over tokens
    sentences: int
    ter: float | None = None  # translation edit rate, percent; None where evaluation.ter is off
    ter_signature: str | None = None
    share_valid: float | None = None  # of outputs that the task's checker accepts; None without one


@dataclasses.dataclass(frozen=True, kw_only=True)
class SystemScores:
    """One system by split."""

    valid: Scores
    test: Scores | None = None  # None without a test split
    test_multi: Scores | None = None  # None without such sentences

    @property
    def reported(self) -> Scores:
        """Those that tables show: of the test split, else of the valid split."""
        return self.valid if self.test is None else self.test


@dataclasses.dataclass(frozen=True)
class Cut:
    """Sources of a split that are longer than the last of data.buckets: only their start is translated."""

    split: str  # one of SPLITS
    sources: int  # that were cut, at least one
    share: float  # of the split
    limit: int  # tokens that were left, EOS included
    lines: tuple[int, ...]  # numbers of the first few, from 1


@dataclasses.dataclass(frozen=True)
class Training:
    """How a model came about."""

    rows: int  # sentence pairs learned from
    step: int  # optimizer steps
    valid_loss: float | None  # nats a token, on the references of the valid split
    parameters: str  # content hash


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedScores(SystemScores):
    """A trained model by split, and its training."""

    training: Training


@dataclasses.dataclass(frozen=True)
class Multimodality:
    """How multi-modal a set of targets is, in nats a token (docs/method.md, section 3)."""

    ncm: float  # negative log-likelihood under the student
    ncm_without_length: float  # the same without the student's length term
    teacher_nll: float  # negative log-likelihood of the same targets under the teacher
    total_correlation: float  # ncm - teacher_nll: what a parallel model cannot express
    sentences: int  # that count
    unreachable: float  # share of the others, which the student cannot produce at all


@dataclasses.dataclass(frozen=True)
class MultimodalityBySplit:
    """Of what the student learned, and of targets of the same kind for sentences that it never saw."""

    train: Multimodality
    valid: Multimodality


@dataclasses.dataclass(frozen=True)
class Position:
    """One position of a student's single pass."""

    position: int  # from 0
    taken: str  # token of the output
    probability: float  # of that token
    likely: tuple[tuple[str, float], ...]  # the likeliest tokens with their probabilities, best first


@dataclasses.dataclass(frozen=True)
class Sample:
    """A sentence of the reported split with what each system of a round made of it."""

    tokens: str  # length of the reference as BLEU counts it, e.g. 6-10
    source: str
    reference: str
    teacher: str
    student: str
    student_rescored: str | None = None
    alternatives: tuple[Position, ...] = ()  # what the student chose between


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a round reached."""

    round: int
    teacher: SystemScores
    student: SystemScores
    control: SystemScores | None = None  # a student with as many steps and no E-step; None in round 0
    student_rescored: SystemScores | None = None  # the student's hypotheses, the first teacher's choice
    ncm: MultimodalityBySplit
    samples: tuple[Sample, ...] = ()
    cut: tuple[Cut, ...] = ()  # of each split where there are any

    @property
    def split(self) -> str:
        """The one that tables show and samples are from: test, or valid where there is no test split."""
        return "valid" if self.teacher.test is None else "test"

    @property
    def systems(self) -> dict[str, SystemScores]:
        """Those of SYSTEMS that there are, by name."""
        found = {name: getattr(self, name) for name in SYSTEMS}
        return {name: scores for name, scores in found.items() if scores is not None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordedEvaluation(Evaluation):
    """eval.json; those of before do not say what they are of."""

    made_from: dict[str, str] | None = None  # content hash of each model and set
    outputs: dict[str, str] | None = None  # file in the folder of the outputs -> its SHA-256


@dataclasses.dataclass(frozen=True)
class Selection:
    """What an E-step chose. Means are over sources; each choice counts by its weight."""

    options: SelectConfig
    rank_histogram: tuple[float, ...]  # choices at each place of the proposer's list, best first
    agreement: float  # share of choices at the first place
    references: float  # share of choices that are the reference
    targets_per_source: float
    candidates_per_source: float
    teacher0_log_prob_per_token: float  # of the choices under the teacher of round 0
    rank1_teacher0_log_prob_per_token: float  # of the first places
    tokens_per_target: float
    share_valid: float | None = None  # as in Scores
    compared_rows: int = 0  # the first sources, whose candidates were compared with their references
    quality: float | None = None  # mean sentence chrF++ of the choices, from 0 to 1; None: not measured
    rank1_quality: float | None = None  # of the first places


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoundReport(Evaluation):
    """A round: how its models were trained, what they reached, and the E-step that followed."""

    teacher: TrainedScores
    student: TrainedScores
    control: TrainedScores | None = None
    selection: Selection | None = None  # None after the last

    @property
    def trained(self) -> dict[str, TrainedScores]:
        """Those of TRAINED that there are, by name."""
        found = {name: getattr(self, name) for name in TRAINED}
        return {name: model for name, model in found.items() if model is not None}


@dataclasses.dataclass(frozen=True)
class Curve:
    """The losses of one training as (step, nats a token), and BLEU on the valid split as (step, percent)."""

    round: int
    role: str  # teacher or student
    loss: tuple[tuple[int, float], ...]  # of the training batches
    valid_loss: tuple[tuple[int, float], ...]
    valid_bleu: tuple[tuple[int, float], ...] = ()  # where evaluations were compared by that


@dataclasses.dataclass(frozen=True)
class LengthBucket:
    """BLEU of each system on the sentences of the reported split of one length."""

    tokens: str  # of the reference, as BLEU counts them, e.g. 6-10
    sentences: int
    bleu: dict[str, float]  # by system


@dataclasses.dataclass(frozen=True)
class RoundOutputs:
    """What a round made of a sentence; fields as in Sample."""

    round: int
    teacher: str
    student: str
    student_rescored: str | None = None
    alternatives: tuple[Position, ...] = ()


@dataclasses.dataclass(frozen=True)
class ComparedSample:
    """A sentence of the reported split with what every round made of it."""

    tokens: str
    source: str
    reference: str
    rounds: tuple[RoundOutputs, ...]


@dataclasses.dataclass(frozen=True)
class Effect:
    """BLEU of a system in the last round against what it is compared with, with paired bootstrap."""

    system: str  # one of SYSTEMS
    split: str  # test (valid, where there is none) or test_multi
    round: int  # the last
    over: str  # round_0: the same system then; control: the student without E-steps
    before: float  # percent, of what it is compared with
    after: float  # percent, the last round
    p_value: float  # one-sided
    signature: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneEvaluation:
    """finetune/eval.json: the student of the last round before and after further training."""

    round: int  # the last
    student: SystemScores  # before
    finetuned: SystemScores
    control: SystemScores | None = None  # as many steps of the student's own objective
    made_from: dict[str, str]  # as in RecordedEvaluation
    outputs: dict[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneReport(FinetuneEvaluation):
    """The same with the trainings; effects are over `student` and over `control`."""

    objective: str
    finetuned: TrainedScores
    control: TrainedScores | None = None
    effects: tuple[Effect, ...]


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What a finished set or model holds, and what it was made from; from its manifest."""

    content_hash: str
    fingerprints: dict[str, str]  # of what it was made from, by role
    rows: int
    dropped: dict[str, int]  # rows by reason


@dataclasses.dataclass(frozen=True)
class Environment:
    """Where a result was made, or a report written."""

    devices: str  # e.g. 4 x TPU v5 lite
    platform: str  # operating system and machine
    python: str
    versions: dict[str, str | None]  # of packages; None of one that is not installed


@dataclasses.dataclass(frozen=True)
class Report:
    """A run: report.json."""

    rounds: tuple[RoundReport, ...]
    curves: tuple[Curve, ...]
    by_length: dict[str, tuple[LengthBucket, ...]]  # by round
    samples: tuple[ComparedSample, ...]
    effects: tuple[Effect, ...]  # of the rounds after the first, where there are any
    latency: tuple[Timing, ...]  # oldest first
    stopped: str | None  # why a rule ended the rounds early
    provenance: dict[str, Provenance]  # by folder in the workdir, in the order of making
    config: Config
    environment: Environment
    seconds: dict[str, float]  # by stage
    finetuned: FinetuneReport | None = None
    throughput: tuple[Throughput, ...] = ()  # oldest first; of distillation as well
