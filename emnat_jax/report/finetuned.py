"""What the training after the last round changed: its section of the page, and its line of table.txt."""

from emnat_jax.report.markup import SURE, table, text
from emnat_jax.report.record import Effect, FinetuneReport, Report, SystemScores, TrainedScores


def finetuned(report: Report) -> str:
    """The section; nothing where there was no such training."""
    found = report.finetuned
    if found is None:
        return ""
    head = ("system", "BLEU", "chrF++", "length ratio", "repeats", "steps")
    systems = {f"student of round {found.round}": found.student, f"for {found.objective}": found.finetuned}
    if found.control is not None:
        systems[f"control: for {report.config.student_train.objective}"] = found.control
    lines = [(name, *_figures(scores)) for name, scores in systems.items()]
    about = "The student of the last round, trained on for another objective; a control had as many steps."
    changes = " ".join(_change(effect) for effect in found.effects)
    note = f"Paired bootstrap of one seed's outputs; p values are one-sided. {changes}"
    return f'<h2>Fine-tuning</h2><p>{about}</p>{table(head, lines)}<p class="note">{text(note)}</p>'


def _figures(system: SystemScores) -> tuple[str, ...]:
    scores = system.reported
    steps = f"+{system.training.step:,}" if isinstance(system, TrainedScores) else ""
    return (
        f"{scores.bleu:.2f}",
        f"{scores.chrf:.2f}",
        f"{scores.length_ratio:.3f}",
        f"{scores.repeat_rate:.2%}",
        steps,
    )


def _change(effect: Effect) -> str:
    over = "the control" if effect.over == "control" else "the student before"
    sure = "" if effect.p_value < SURE else ", cannot tell"
    gain = effect.after - effect.before
    return f"On {effect.split} over {over}: {gain:+.2f} BLEU (p = {effect.p_value:.3f}{sure})."


def finetuned_line(found: FinetuneReport) -> str:
    """For table.txt."""
    control = "" if found.control is None else f", its control {found.control.reported.bleu:.2f}"
    return (
        f"fine-tuned for {found.objective}, {found.finetuned.training.step:,} steps: BLEU "
        f"{found.finetuned.reported.bleu:.2f}; student of round {found.round} "
        f"{found.student.reported.bleu:.2f}{control}"
    )
