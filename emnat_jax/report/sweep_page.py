"""The page of a sweep: which cell is best, by how much, and how far seeds differ. A function of sweep.json alone."""

from typing import Any

from emnat_jax.report.charts import strip_chart
from emnat_jax.report.markup import cards, document, figures, table, text

SURE = 0.05  # p value under which a difference is called one


def sweep_page(report: dict[str, Any]) -> str:
    """The whole page."""
    groups = list(dict.fromkeys(cell["group"] for cell in report["cells"]))
    parts = [
        _summary(report, groups),
        _charts(report, groups),
        *(_group(report, name) for name in groups),
        _runs(report),
    ]
    return document("Sweep", "".join(parts) if groups else "<p>No cell is finished.</p>")


def _summary(report: dict[str, Any], groups: list[str]) -> str:
    """For each group the best student, and whether it beats the first."""
    shown = []
    for name in groups:
        cells = [cell for cell in report["cells"] if cell["group"] == name]
        best = max(cells, key=lambda cell: cell["figures"]["student"]["mean"])
        student = with_spread(best["figures"]["student"])
        shown.append((f"{name}: best is {best['cell']}", f"{student} BLEU", _verdict(best, cells[0])))
    note = "; ".join(f"{split}: {signature}" for split, signature in report["signatures"].items())
    missing = f"<p>Not finished: {text(', '.join(report['missing']))}</p>" if report["missing"] else ""
    return f'{cards(shown)}{missing}<p class="note">sacreBLEU against the raw references, {text(note)}</p>'


def _verdict(best: dict[str, Any], first: dict[str, Any]) -> str:
    if best["gain"] is None:
        return (
            "nothing beats the first of the group"
            if best["cell"] == first["cell"]
            else "nothing to compare with"
        )
    sure = sum(p < SURE for p in best["p_values"])
    return (
        f"{with_spread(best['gain'], sign='+')} over {first['cell']}; p < {SURE} in {sure} of {len(best['p_values'])} "
        f"seeds (paired bootstrap)"
    )


def _charts(report: dict[str, Any], groups: list[str]) -> str:
    drawn = []
    for name in groups:
        cells = [cell for cell in report["cells"] if cell["group"] == name]
        students = {cell["cell"]: cell["figures"]["student"]["values"] for cell in cells}
        teacher = cells[0]["figures"]["teacher"]["mean"]
        drawn.append((f"{name}: students by seed", strip_chart(students, "BLEU", {"teacher": teacher})))
    return f"<h2>Students</h2><p>A point a seed, a bar their mean.</p>{figures(drawn)}"


_COLUMNS = {
    "teacher": "teacher", "student": "student", "teacher_multi": "teacher, several references",
    "student_multi": "student, several references", "rescored": "student, rescored", "chrf": "student chrF++",
    "share_valid": "valid share", "ncm": "NCM of its targets", "total_correlation": "total correlation",
    "length_ratio": "length ratio", "repeat_rate": "repeated words", "type_token_ratio": "type/token",
}  # fmt: skip
_FINE = ("share_valid", "ncm", "total_correlation", "length_ratio", "repeat_rate", "type_token_ratio")


def _group(report: dict[str, Any], name: str) -> str:
    cells = [cell for cell in report["cells"] if cell["group"] == name]
    shown = [figure for figure in _COLUMNS if figure in cells[0]["figures"]]
    head = ("cell", "seeds", "gain", *(_COLUMNS[figure] for figure in shown), "updates of teacher, student")
    lines = [
        (
            cell["cell"],
            len(cell["seeds"]),
            "-" if cell["gain"] is None else with_spread(cell["gain"], sign="+"),
            *(with_spread(cell["figures"].get(figure), 4 if figure in _FINE else 2) for figure in shown),
            f"{cell['updates']['ar']}, {cell['updates']['nar']}",
        )
        for cell in cells
    ]
    about = f"Gains in BLEU over {cells[0]['cell']}, seed by seed; ± is the standard deviation over seeds."
    return f"<h2>{text(name)}</h2><p>{text(about)}</p>{table(head, lines)}"


def _runs(report: dict[str, Any]) -> str:
    """Every run, with its own report."""
    lines = []
    for run in report["runs"]:
        gain = run["gain"]
        against = (
            "" if gain is None else f"{gain['bleu']:+.2f} over {gain['over']}, p = {gain['p_value']:.3f}"
        )
        link = f'<a href="../{text(run["folder"])}/report/index.html">{text(run["folder"])}</a>'
        student = f"{run['figures']['student']:.2f}"
        lines.append(f"<tr><td>{link}</td><td>{student}</td><td>{text(against)}</td></tr>")
    head = "<tr><th>run</th><th>student</th><th>against the first, same seed</th></tr>"
    return f'<h2>Runs</h2><div class="wide"><table><thead>{head}</thead><tbody>{"".join(lines)}</tbody></table></div>'


def with_spread(value: dict[str, Any] | None, digits: int = 2, sign: str = "") -> str:
    """Mean ± standard deviation; the mean alone of one seed."""
    if value is None:
        return "-"
    mean = f"{value['mean']:{sign}.{digits}f}"
    return mean if value["sd"] is None else f"{mean} ± {value['sd']:.{digits}f}"
