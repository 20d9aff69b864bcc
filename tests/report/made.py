"""A report of made numbers: two rounds, three sentences."""

import dataclasses

from emnat_jax.config import Config, DataConfig, EMConfig, ModelConfig, SelectConfig
from emnat_jax.evaluation import lengths
from emnat_jax.report.record import (
    Curve,
    Effect,
    Environment,
    LengthBucket,
    Multimodality,
    MultimodalityBySplit,
    Position,
    Provenance,
    Report,
    RoundReport,
    Sample,
    Scores,
    Selection,
    TrainedScores,
    Training,
)
from emnat_jax.report.sentences import compare_samples

PAPER_LOOP = EMConfig(update_teacher=True, student_data="distilled")
REFERENCES = ["a b c", "d e f g h i j", "k l m n o p q r s t u v"]
OUTPUTS = {0: {"teacher": ["a b c", "d e e g", "k <b> l"], "student": ["a a c", "d e x x", "k l"]}}
OUTPUTS[1] = {"teacher": ["a b c", "d e f g h i j", "k l m"], "student": ["a b c", "d e f g x", "k l m n o"]}
SCORES = Scores(20.0, "nrefs:1|case:mixed|tok:13a", 30.0, "nw:2", 0.9, 0.05, 0.2, 3)
EFFECT = Effect("student", "test", 1, "round_0", 20.0, 21.0, 0.3, "bs:1000")
NCM = Multimodality(1.2, 1.1, 0.9, 0.3, 100, 0.0)
NCM_BY_SPLIT = MultimodalityBySplit(NCM, NCM)
CHOICE = (Position(2, "▁a<b>", 0.25, (("▁x", 0.7), ("▁a<b>", 0.25))),)
SELECTION = Selection(
    options=SelectConfig(quality_weight=0.0, include_reference=False),
    rank_histogram=(3.0, 1.0),
    agreement=0.75,
    references=0.0,
    targets_per_source=1.0,
    candidates_per_source=2.0,
    teacher0_log_prob_per_token=-1.0,
    rank1_teacher0_log_prob_per_token=-0.9,
    tokens_per_target=7.0,
)


def samples(outputs: dict[str, list[str]]) -> tuple[Sample, ...]:
    """As a round's evaluation has its examples."""
    sources = ["s1", "s2", "<script>alert(1)</script>"]
    return tuple(
        Sample(
            tokens=lengths.bucket_name(place),
            source=sources[i],
            reference=REFERENCES[i],
            **{name: lines[i] for name, lines in outputs.items()},
            alternatives=CHOICE,
        )
        for i, place in enumerate(lengths.buckets_of(REFERENCES))
    )


def one_round(index: int, outputs: dict[str, list[str]]) -> RoundReport:
    """A round that is one point better than the one before; an E-step follows the first."""
    scores = dataclasses.replace(SCORES, bleu=20.0 + index)
    system = TrainedScores(valid=scores, test=scores, training=Training(100, 40, 4.0, "c" * 64))
    return RoundReport(
        round=index,
        teacher=system,
        student=system,
        ncm=NCM_BY_SPLIT,
        samples=samples(outputs),
        selection=SELECTION if index == 0 else None,
    )


def report(rounds: int = 2) -> Report:
    """The report after so many rounds."""
    outputs = {index: OUTPUTS[index] for index in range(rounds)}
    found = tuple(one_round(index, lines) for index, lines in outputs.items())
    data = DataConfig(kind="text", train_source="mine/train.de")
    return Report(
        rounds=found,
        curves=tuple(Curve(0, role, ((1, 5.0), (2, 3.0)), ((2, 4.0),)) for role in ("teacher", "student")),
        by_length={
            str(index): tuple(LengthBucket(**bucket) for bucket in lengths.by_length(lines, REFERENCES))
            for index, lines in outputs.items()
        },
        samples=compare_samples(found),
        effects=(EFFECT, dataclasses.replace(EFFECT, system="teacher", p_value=0.01)) if rounds > 1 else (),
        latency=(),
        stopped=None,
        provenance={"data/train": Provenance("f" * 64, {"corpus": "e" * 64}, 100, {"empty_line": 2})},
        config=Config(data=data, student=ModelConfig(family="vanilla"), em=PAPER_LOOP),
        environment=Environment("1 x cpu", "p", "3", {"jax": "0"}),
        seconds={"data/train": 3.0},
    )
