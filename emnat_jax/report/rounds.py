"""What every round reached on the test split: the table of the page, and table.txt."""

import itertools

from emnat_jax.report.cut import describe_cut
from emnat_jax.report.finetuned import finetuned_line
from emnat_jax.report.markup import columns_of_text, table, text
from emnat_jax.report.record import TRAINED, Report, RoundReport, Scores, SystemScores

NAMES = {  # of systems, as pages call them
    "teacher": "teacher",
    "student": "student (one pass)",
    "control": "control (no E-step)",
    "student_rescored": "student, rescored",
}
SPLITS = {"test": "Test split", "valid": "Valid split, for there is no test split"}
LEARNED = {  # what the student of round 0 learns from, by em.student_data
    "raw": "from the corpus itself",
    "candidates": "from the teacher's N best, with the E-step inside the loss",
}
NOTE = (
    "Tokens are those that BLEU counts. Length ratio: tokens of the output over tokens of the reference; 1 "
    "is best. Repeats: share of tokens equal to the token before; longer loops are not counted. Type/token: "
    "distinct tokens over tokens; lower means a poorer vocabulary. Rescored: the teacher of round 0 picks "
    "the best of the student's outputs. Control: a student with as many steps that went on learning what the "
    "student of round 0 learned from."
)


def rounds(report: Report) -> str:
    """The section: a line a round and system."""
    multi = report.rounds[0].student.test_multi
    first = report.rounds[0].student.reported
    several = (f"BLEU, several references ({multi.sentences:,} other sentences)",) if multi else ()
    head = (
        "round",
        "system",
        "BLEU",
        *several,
        "chrF++",
        *(("TER",) if _has_ter(report) else ()),
        "length ratio",
        "repeats",
        "type/token",
        "training pairs",
        "steps",
    )
    steps = {name: _steps(report, name) for name in TRAINED}
    lines = []
    for place, found in enumerate(report.rounds):
        trained = {
            name: (f"{model.training.rows:,}", steps[name][place]) for name, model in found.trained.items()
        }
        for name, system in found.systems.items():
            others = (f"{system.test_multi.bleu:.2f}",) if system.test_multi else () if not multi else ("",)
            lines.append(
                (
                    found.round,
                    NAMES[name],
                    f"{system.reported.bleu:.2f}",
                    *others,
                    *_fine(system.reported),
                    *trained.get(name, ("", "")),
                )
            )
    learned = LEARNED.get(
        report.config.em.student_data, "from the teacher's translations (plain distillation)"
    )
    split = SPLITS[report.rounds[0].split]
    about = f"{split}. The student of round 0 learned {learned}; each later round follows an E-step."
    note = f"{NOTE} {_signatures(first)}" + (f" Several references: {multi.bleu_signature}." if multi else "")
    return f'<h2>Rounds</h2><p>{text(about)}</p>{table(head, lines)}<p class="note">{text(note)}</p>'


def _signatures(test: Scores) -> str:
    """How the scores of the table were computed."""
    ter = f" TER: {test.ter_signature}." if test.ter_signature else ""
    return f"BLEU: {test.bleu_signature}. chrF++: {test.chrf_signature}.{ter}"


def _fine(test: Scores) -> tuple[str, ...]:
    return (
        f"{test.chrf:.2f}",
        *(() if test.ter is None else (f"{test.ter:.2f}",)),
        f"{test.length_ratio:.3f}",
        f"{test.repeat_rate:.2%}",
        f"{test.type_token_ratio:.3f}",
    )


def _steps(report: Report, name: str) -> list[str]:
    """Optimizer steps of each round; where a model goes on from the last round's, how many that makes."""
    first, *later = report.rounds
    begun = first.trained["student" if name == "control" else name].training.step
    if name == "teacher" and not report.config.em.update_teacher:
        return [f"{begun:,}", *("none, frozen" for _ in later)]
    more = [found.trained[name].training.step for found in later if name in found.trained]
    if not report.config.em.warm_start:
        return [f"{step:,}" for step in (begun, *more)]
    totals = itertools.islice(itertools.accumulate((begun, *more)), 1, None)
    return [f"{begun:,}", *(f"+{step:,} ({total:,} in all)" for step, total in zip(more, totals))]


def text_table(report: Report) -> str:
    """table.txt: a line a round, teacher and student on the test split, and what the E-step did."""
    head: tuple[str, ...] = (
        "round",
        "teacher BLEU",
        "student BLEU",
        *(("control BLEU",) if _has_control(report) else ()),
        "rescored",
        "teacher chrF++",
        "student chrF++",
        *(("student TER",) if _has_ter(report) else ()),
        "length ratio",
        "repeats %",
        "NCM train",
        "teacher NLL",
        "agreement",
    )
    checked = any(found.student.reported.share_valid is not None for found in report.rounds)
    if checked:
        head += ("teacher valid %", "student valid %", "choices valid %")
    lines = [head, *(_line(report, found) + (_valid(found) if checked else ()) for found in report.rounds)]
    notes = [
        f"{SPLITS[found.split].lower()}; {_signatures(found.teacher.reported)}" for found in report.rounds[:1]
    ]
    notes += [f"cut: {describe_cut(cut)}" for found in report.rounds[-1:] for cut in found.cut]
    notes += [f"stopped: {report.stopped}"] if report.stopped else []
    notes += [finetuned_line(report.finetuned)] if report.finetuned else []
    return "\n".join([*columns_of_text(lines), *notes])


def _has_ter(report: Report) -> bool:
    return any(found.student.reported.ter is not None for found in report.rounds)


def _has_control(report: Report) -> bool:
    return any(found.control is not None for found in report.rounds)


def _line(report: Report, found: RoundReport) -> tuple[str, ...]:
    teacher, student, ncm = found.teacher.reported, found.student.reported, found.ncm.train
    agreement = f"{found.selection.agreement:.2f}" if found.selection else "-"
    return (
        str(found.round),
        f"{teacher.bleu:.2f}",
        f"{student.bleu:.2f}",
        *((_bleu(found.control),) if _has_control(report) else ()),
        _bleu(found.student_rescored),
        f"{teacher.chrf:.2f}",
        f"{student.chrf:.2f}",
        *(() if student.ter is None else (f"{student.ter:.2f}",)),
        f"{student.length_ratio:.3f}",
        f"{100 * student.repeat_rate:.2f}",
        f"{ncm.ncm:.3f}",
        f"{ncm.teacher_nll:.3f}",
        agreement,
    )


def _bleu(system: SystemScores | None) -> str:
    return f"{system.reported.bleu:.2f}" if system else "-"


def _valid(found: RoundReport) -> tuple[str, ...]:
    """Shares of valid outputs and choices, in percent."""
    chosen = found.selection.share_valid if found.selection else None
    outputs = [system.reported.share_valid for system in (found.teacher, found.student)]
    return (*(_percent(share, 1) for share in outputs), _percent(chosen, 2))


def _percent(share: float | None, digits: int) -> str:
    return "-" if share is None else f"{100 * share:.{digits}f}"
