"""The page and the table of a sweep, from its report: which cell is best, by how much, over which seeds."""

from collections.abc import Iterable, Sequence

from emnat_jax.report.charts import strip_chart
from emnat_jax.report.markup import SURE, cards, columns_of_text, document, figures, table, text
from emnat_jax.report.sweep_record import CellSummary, GainOverSeeds, OverSeeds, SweepReport

NAMES = {
    "teacher": "teacher",
    "student": "student",
    "teacher_multi": "teacher, several references",
    "student_multi": "student, several references",
    "control": "control (no E-step)",
    "rescored": "student, rescored",
    "finetuned": "fine-tuned",
    "finetuned_control": "control of fine-tuning",
    "finetuned_gain": "gain of fine-tuning",
    "chrf": "student chrF++",
    "share_valid": "valid share",
    "ncm": "NCM of its targets",
    "total_correlation": "total correlation",
    "length_ratio": "length ratio",
    "repeat_rate": "repeats",
    "type_token_ratio": "type/token",
}
_FINETUNED = ("finetuned", "finetuned_control", "finetuned_gain")
GAINS = {"test": "gain", "valid": "gain, valid split", "test_multi": "gain, several references"}
_IN_TEXT = ("teacher", "student", "control", "rescored", "student_multi", "share_valid", "ncm", *_FINETUNED)
_FINE = ("share_valid", "ncm", "total_correlation", "length_ratio", "repeat_rate", "type_token_ratio")


def sweep_page(report: SweepReport) -> str:
    """The whole page."""
    groups = list(dict.fromkeys(cell.group for cell in report.cells))
    parts = [
        _summary(report, groups),
        _charts(report, groups),
        *(_group(report, name) for name in groups),
        _runs(report),
    ]
    title = f"Sweep: {report.about.source_language} to {report.about.target_language}"
    nothing = "<p>No cell is finished.</p>"
    left_out = (f"<p><strong>{text(line)}</strong></p>" for line in _left_out(report))
    return document(title, "".join([*left_out, *(parts if groups else [nothing])]))


def sweep_table(report: SweepReport) -> str:
    """A line a cell as plain text."""
    shown = _shown(report.cells, _IN_TEXT)
    lines = [("cell", "seeds", *(NAMES[name] for name in shown), "gain", "p")]
    for cell in report.cells:
        seeds, gain = ",".join(map(str, cell.seeds)), _reported_gain(cell)
        p_values = " ".join(f"{p:.3f}" for p in gain.p_values) if gain else ""
        own = (_measurement(cell, name) for name in shown)
        lines.append((f"{cell.group}/{cell.cell}", seeds, *own, with_spread(gain, sign="+"), p_values))
    notes = [f"{split}: {signature}" for split, signature in report.signatures.items()]
    missing = [f"{_missing(report)}; --plan shows them"] if report.missing else []
    return "\n".join([*columns_of_text(lines), *notes, *missing, *_left_out(report)])


def _missing(report: SweepReport) -> str:
    count = len(report.missing)
    return f"{count} of {count + len(report.runs) + len(report.damaged)} runs are not finished"


def _left_out(report: SweepReport) -> list[str]:
    return [f"left out: {folder}: {problem}" for folder, problem in report.damaged.items()]


def _shown(cells: Sequence[CellSummary], names: Iterable[str]) -> list[str]:
    return [name for name in names if any(name in cell.measurements for cell in cells)]


def _measurement(cell: CellSummary, name: str) -> str:
    return with_spread(cell.measurements.get(name), 4 if name in _FINE else 2)


def with_spread(value: OverSeeds | None, digits: int = 2, sign: str = "") -> str:
    """Mean ± standard deviation; the mean alone of one seed."""
    if value is None:
        return "-"
    mean = f"{value.mean:{sign}.{digits}f}"
    if value.sd is None:
        return mean
    return f"{mean}\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{value.sd:.{digits}f}"


def _summary(report: SweepReport, groups: Sequence[str]) -> str:
    """For each group the best student, and whether it beats the baseline."""
    about = (
        f"{report.about.pairs:,} training pairs, {report.about.corpus}; "
        f"seeds {', '.join(map(str, report.about.seeds))}"
    )
    signatures = "; ".join(f"{split}: {signature}" for split, signature in report.signatures.items())
    note = f'<p class="note">sacreBLEU against the raw references, {text(signatures)}</p>'
    missing = (
        f"<details><summary>{text(_missing(report))}</summary>"
        f"<p>{text(', '.join(report.missing))}</p></details>"
        if report.missing
        else ""
    )
    shown = cards(_card(report, name) for name in groups)
    return f"<p>{text(about)}</p>{shown}{missing}{note}"


def _card(report: SweepReport, group: str) -> tuple[str, str, str]:
    best = _best(_cells(report, group))
    if best is None:
        return group, "no comparison yet", "no seed is finished in all of its cells"
    student = with_spread(best.measurements["student"])
    return f"{group}: best is {best.cell}", f"{student} BLEU", _verdict(best, report.baselines[group])


def _cells(report: SweepReport, group: str) -> list[CellSummary]:
    return [cell for cell in report.cells if cell.group == group]


def _best(cells: Sequence[CellSummary]) -> CellSummary | None:
    """The cell with the best mean over the seeds that all of them have; a lucky seed alone wins nothing."""
    common = set.intersection(*({*cell.seeds} for cell in cells))
    if not common:
        return None

    def total(cell: CellSummary) -> float:
        values = zip(cell.seeds, cell.measurements["student"].values, strict=True)
        return sum(value for seed, value in values if seed in common)

    return max(cells, key=total)


def _verdict(best: CellSummary, baseline: str) -> str:
    if best.cell == baseline:
        return "what the others are compared with"
    if (gain := _reported_gain(best)) is None:
        return f"{baseline} is not finished: nothing to compare with"
    return f"{with_spread(gain, sign='+')} over {baseline}; {_certainty(gain)}"


def _reported_gain(cell: CellSummary) -> GainOverSeeds | None:
    """On the test split; on the valid split where there is no other."""
    return cell.gains.get("test", cell.gains.get("valid"))


def _certainty(gain: GainOverSeeds) -> str:
    """In how many seeds the difference is significant."""
    pairs = list(zip(gain.values, gain.p_values, strict=True))
    better = sum(gain > 0 and p_value < SURE for gain, p_value in pairs)
    worse = sum(gain < 0 and p_value < SURE for gain, p_value in pairs)
    surely = f"surely better (p < {SURE}) in {better}" + (f", surely worse in {worse}" if worse else "")
    return f"{surely} of {len(pairs)} seeds (paired bootstrap)"


def _charts(report: SweepReport, groups: Sequence[str]) -> str:
    drawn = []
    for name in groups:
        cells = _cells(report, name)
        students = {cell.cell: cell.measurements["student"].values for cell in cells}
        found = [cell for cell in cells if cell.cell == report.baselines[name]]
        levels = {f"teacher of {cell.cell}": cell.measurements["teacher"].mean for cell in found}
        drawn.append((f"{name}: students by seed", strip_chart(students, "BLEU", levels)))
    return f"<h2>Students</h2><p>Each point is a seed, each bar the mean over seeds.</p>{figures(drawn)}"


def _group(report: SweepReport, name: str) -> str:
    cells = _cells(report, name)
    shown = _shown(cells, NAMES)
    gains = [split for split in GAINS if any(split in cell.gains for cell in cells)]
    head = (
        "cell",
        "seeds",
        *(GAINS[split] for split in gains),
        *(NAMES[measured] for measured in shown),
        "steps of teacher, student",
    )
    lines = [
        (
            cell.cell,
            len(cell.seeds),
            *(_gain(cell.gains.get(split)) for split in gains),
            *(_measurement(cell, measured) for measured in shown),
            f"{cell.steps.teacher}, {cell.steps.student}",
        )
        for cell in cells
    ]
    about = (
        f"Gains in BLEU over {report.baselines[name]}, seed by seed, with the p value of each seed's paired "
        "bootstrap; ± is the standard deviation over seeds."
    )
    return f"<h2>{text(name)}</h2><p>{text(about)}</p>{table(head, lines)}"


def _gain(gain: GainOverSeeds | None) -> str:
    if gain is None:
        return "-"
    return f"{with_spread(gain, sign='+')} (p {', '.join(f'{p:.3f}' for p in gain.p_values)})"


def _runs(report: SweepReport) -> str:
    """Every run, with its own report."""
    lines = []
    for run in report.runs:
        gains = "; ".join(
            f"{GAINS[split]} {gain.bleu:+.2f} over {gain.over}, p = {gain.p_value:.3f}"
            for split, gain in run.gains.items()
        )
        link = f'<a href="../{text(run.folder)}/report/index.html">{text(run.folder)}</a>'
        lines.append(
            f"<tr><td>{link}</td><td>{run.measurements['student']:.2f}</td><td>{text(gains)}</td></tr>"
        )
    head = "<tr><th>run</th><th>student</th><th>against the baseline, same seed</th></tr>"
    body = f"<thead>{head}</thead><tbody>{''.join(lines)}</tbody>"
    return f'<h2>Runs</h2><div class="wide"><table>{body}</table></div>'
