"""The top of a run's page: what was trained, on what, how good, how fast, and whether EM helped."""

from collections.abc import Sequence

from emnat_jax.config import DataConfig
from emnat_jax.config.data import file_names
from emnat_jax.report.cut import describe_cut
from emnat_jax.report.markup import SURE, cards, table, text
from emnat_jax.report.record import Effect, Report
from emnat_jax.report.rounds import NAMES
from emnat_jax.report.speed import speed

TESTS = {
    "test": "sentences of the test split",
    "valid": "sentences of the valid split",
    "test_multi": "sentences with several references",
}


def summary(report: Report) -> str:
    """A sentence on the run, its measurements in boxes, and what the rounds changed, with p values."""
    signature = report.rounds[0].teacher.reported.bleu_signature
    cut = "".join(
        f"<p><strong>Cut</strong>: {text(describe_cut(found))}</p>" for found in report.rounds[-1].cut
    )
    stopped = f"<p>The rounds were stopped: {text(report.stopped)}</p>" if report.stopped else ""
    note = f"BLEU is sacreBLEU against the raw references: {signature}."
    note = f'<p class="note">{text(note)}</p>'
    lead = f'<p class="lead">{text(_lead(report))}</p>'
    return f"{lead}{cards(_cards(report))}{cut}{stopped}{note}{_effects(report)}"


def _cards(report: Report) -> list[tuple[str, str, str]]:
    first, last = report.rounds[0], report.rounds[-1]
    teacher, student = first.teacher.reported.bleu, last.student.reported.bleu
    about = f"round {last.round}, {_distance(teacher - student)}"
    shown = [
        ("Teacher", f"{teacher:.2f} BLEU", f"round 0, {first.split} split"),
        ("Student, one pass", f"{student:.2f} BLEU", about),
    ]
    if last.student_rescored:
        count = report.config.evaluation.rescored_candidates
        about = f"the teacher of round 0 picks the best of the student's {count} outputs"
        shown.append(("Student, rescored", f"{last.student_rescored.reported.bleu:.2f} BLEU", about))
    return [*shown, ("Did EM help?", *_verdict(report)), ("Speed", *speed(report.latency))]


def _lead(report: Report) -> str:
    config, rounds = report.config, len(report.rounds) - 1
    pairs = report.provenance["data/train"].rows
    return (
        f"A non-autoregressive student ({config.student.family}), which produces all words of a sentence in "
        f"one pass, learned from an autoregressive teacher ({config.teacher.family}), which produces them "
        f"one after the other, with {rounds or 'no'} EM round{'' if rounds == 1 else 's'} on {pairs:,} "
        f"sentence pairs, {languages(config.data)} ({corpus_name(config.data)}). Tested on "
        f"{report.rounds[0].teacher.reported.sentences:,} sentences"
        f"{'' if report.rounds[0].split == 'test' else ' of the valid split, for there is no test split'}."
    )


def languages(data: DataConfig) -> str:
    """From which language to which."""
    return f"{data.source_language} to {data.target_language}"


def corpus_name(data: DataConfig) -> str:
    """The corpus, as a reader knows it."""
    names = {
        "demo": "the bundled demo",
        "modes": "the generated multi-modal task",
        "tfds": str(data.tfds),
        "text": ", ".join(file_names(data.train_source or data.train_tsv or ())),
    }
    return names.get(data.kind, data.kind)


def _distance(gap: float) -> str:
    return f"{abs(gap):.2f} {'behind' if gap >= 0 else 'ahead of'} the teacher of round 0"


def _verdict(report: Report) -> tuple[str, str]:
    """Verdict on the one-pass student on the split that is reported: over its control, where there is one."""
    reported = ("student", report.rounds[0].split)
    found = [effect for effect in report.effects if (effect.system, effect.split) == reported]
    if not found:
        return "not asked", "no round after the first"
    effect = min(found, key=lambda effect: effect.over != "control")
    gain = effect.after - effect.before
    note = (
        f"student of round {effect.round} against {_compared(report, effect)}; p = {effect.p_value:.3f}, "
        "paired bootstrap; one seed"
    )
    if effect.p_value >= SURE:
        return f"cannot tell: {gain:+.2f}", note
    return f"{'yes' if gain > 0 else 'no, it hurt'}: {gain:+.2f} BLEU", note


def _compared(report: Report, effect: Effect) -> str:
    """What the last student is compared with, and how many steps both had."""
    if effect.over == "control":
        return "its control, which had as many steps without an E-step"
    steps = [found.student.training.step for found in report.rounds]
    if not report.config.em.warm_start:
        return f"round 0, trained anew, {steps[-1]:,} steps against {steps[0]:,}"
    return f"round 0, with {sum(steps[1:]):,} more steps than its {steps[0]:,}"


def _effects(report: Report) -> str:
    """Every difference between the last round and what it is compared with."""
    if not report.effects:
        return ""
    head = ("system", "BLEU on", "compared with", "its BLEU", f"round {report.effects[0].round}", "change")
    lines = [
        (
            NAMES[effect.system],
            _test_name(report, effect.split),
            "the control" if effect.over == "control" else "itself in round 0",
            f"{effect.before:.2f}",
            f"{effect.after:.2f}",
            f"{effect.after - effect.before:+.2f}",
            _p_value(effect),
        )
        for effect in report.effects
    ]
    note = (
        f"Paired bootstrap of one seed's outputs; the p value is one-sided, and below {SURE} a change counts "
        f"as real. {_meaning(report)} BLEU on {'; '.join(_signatures(report.effects))}."
    )
    lines_of = table((*head, "p value"), lines)
    return f'<h2>What the rounds changed</h2>{lines_of}<p class="note">{text(note)}</p>'


def _meaning(report: Report) -> str:
    """What a difference is the effect of."""
    together = "is the effect of the E-steps and of the additional training steps together"
    if any(effect.over == "control" for effect in report.effects):
        return (
            "Over the control, a student with as many steps on what the student of round 0 learned from, it "
            f"is the effect of the E-steps alone; over round 0 it {together}.{_of_references(report)}"
        )
    return f"It {together}; a control tells them apart (em.control=True)."


def _of_references(report: Report) -> str:
    """What part of the choices were references, and which run says what these are worth by themselves."""
    shares = [found.selection.references for found in report.rounds if found.selection is not None]
    if not any(shares):
        return ""
    steps = sum(found.student.training.step for found in report.rounds)
    return (
        f" Of the last choices {shares[-1]:.0%} are references. What references are worth without an E-step "
        "a student says that learns the corpus: em.student_data=raw em.rounds=0 student_train.steps="
        f"{steps}."
    )


def _p_value(effect: Effect) -> str:
    return f"{effect.p_value:.3f}{'' if effect.p_value < SURE else ', cannot tell'}"


def _test_name(report: Report, split: str) -> str:
    return f"{getattr(report.rounds[0].student, split).sentences:,} {TESTS[split]}"


def _signatures(effects: Sequence[Effect]) -> list[str]:
    by_split = {effect.split: effect.signature for effect in effects}
    return [f"{TESTS[split]}: {signature}" for split, signature in by_split.items()]
