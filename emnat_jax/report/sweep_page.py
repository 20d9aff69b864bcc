"""The page and the table of a sweep: which cell is best, by how much, how far seeds differ. Functions of sweep.json alone."""

from typing import Any

from emnat_jax.report.charts import strip_chart
from emnat_jax.report.markup import SURE, cards, columns_of_text, document, figures, table, text

NAMES = {
    "teacher": "teacher", "student": "student", "teacher_multi": "teacher, several references",
    "student_multi": "student, several references", "rescored": "student, rescored", "chrf": "student chrF++",
    "share_valid": "valid share", "ncm": "NCM of its targets", "total_correlation": "total correlation",
    "length_ratio": "length ratio", "repeat_rate": "repeats", "type_token_ratio": "type/token",
}  # fmt: skip
GAINS = {"test": "gain", "test_multi": "gain, several references"}
_IN_TEXT = ("teacher", "student", "rescored", "student_multi", "share_valid", "ncm")
_FINE = ("share_valid", "ncm", "total_correlation", "length_ratio", "repeat_rate", "type_token_ratio")


def sweep_page(report: dict[str, Any]) -> str:
    """The whole page."""
    groups = list(dict.fromkeys(cell["group"] for cell in report["cells"]))
    parts = [
        _summary(report, groups),
        _charts(report, groups),
        *(_group(report, name) for name in groups),
        _runs(report),
    ]
    title = "Sweep: {source_language} to {target_language}".format(**report["about"])
    return document(title, "".join(parts) if groups else "<p>No cell is finished.</p>")


def sweep_table(report: dict[str, Any]) -> str:
    """A line a cell as plain text."""
    shown = _shown(report["cells"], _IN_TEXT)
    lines = [("cell", "seeds", *(NAMES[name] for name in shown), "gain", "p")]
    for cell in report["cells"]:
        seeds, gain = ",".join(map(str, cell["seeds"])), cell["gains"].get("test")
        p_values = " ".join(f"{p:.3f}" for p in gain["p_values"]) if gain else ""
        own = (_figure(cell, name) for name in shown)
        lines.append((f"{cell['group']}/{cell['cell']}", seeds, *own, with_spread(gain, sign="+"), p_values))
    notes = [f"{split}: {signature}" for split, signature in report["signatures"].items()]
    missing = [f"{_missing(report)}; --plan shows them"] if report["missing"] else []
    return "\n".join([*columns_of_text(lines), *notes, *missing])


def _missing(report: dict[str, Any]) -> str:
    count = len(report["missing"])
    return f"{count} of {count + len(report['runs'])} runs are not finished"


def _shown(cells: list[dict], names) -> list[str]:
    return [name for name in names if any(name in cell["figures"] for cell in cells)]


def _figure(cell: dict[str, Any], name: str) -> str:
    return with_spread(cell["figures"].get(name), 4 if name in _FINE else 2)


def with_spread(value: dict[str, Any] | None, digits: int = 2, sign: str = "") -> str:
    """Mean ± standard deviation; the mean alone of one seed."""
    if value is None:
        return "-"
    mean = f"{value['mean']:{sign}.{digits}f}"
    return (
        mean
        if value["sd"] is None
        else f"{mean}\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{value['sd']:.{digits}f}"
    )


def _summary(report: dict[str, Any], groups: list[str]) -> str:
    """For each group the best student, and whether it beats the baseline."""
    shown = []
    for name in groups:
        best = _best([cell for cell in report["cells"] if cell["group"] == name])
        if best is None:
            shown.append((name, "no comparison yet", "no seed is finished in all of its cells"))
            continue
        student = with_spread(best["figures"]["student"])
        shown.append(
            (f"{name}: best is {best['cell']}", f"{student} BLEU", _verdict(best, report["baselines"][name]))
        )
    about = "{pairs} training pairs, {corpus}; seeds {seeds}".format(**report["about"])
    note = "; ".join(f"{split}: {signature}" for split, signature in report["signatures"].items())
    missing = (
        f"<details><summary>{text(_missing(report))}</summary><p>{text(', '.join(report['missing']))}</p></details>"
        if report["missing"]
        else ""
    )
    return f'<p>{text(about)}</p>{cards(shown)}{missing}<p class="note">sacreBLEU against the raw references, {text(note)}</p>'


def _best(cells: list[dict]) -> dict[str, Any] | None:
    """The cell with the best mean over the seeds that all of them have; a lucky seed alone wins nothing."""
    common = set.intersection(*(set(cell["seeds"]) for cell in cells))
    if not common:
        return None

    def mean(cell: dict[str, Any]) -> float:
        values = zip(cell["seeds"], cell["figures"]["student"]["values"], strict=True)
        return sum(value for seed, value in values if seed in common)

    return max(cells, key=mean)


def _verdict(best: dict[str, Any], baseline: str) -> str:
    if best["cell"] == baseline:
        return "what the others are compared with"
    if "test" not in best["gains"]:
        return f"{baseline} is not finished: nothing to compare with"
    gain = best["gains"]["test"]
    return f"{with_spread(gain, sign='+')} over {baseline}; {_certainty(gain)}"


def _certainty(gain: dict[str, Any]) -> str:
    """In how many seeds a gain or a loss is one."""
    pairs = list(zip(gain["values"], gain["p_values"], strict=True))
    better = sum(gain > 0 and p_value < SURE for gain, p_value in pairs)
    worse = sum(gain < 0 and p_value < SURE for gain, p_value in pairs)
    surely = f"surely better (p < {SURE}) in {better}" + (f", surely worse in {worse}" if worse else "")
    return f"{surely} of {len(pairs)} seeds (paired bootstrap)"


def _charts(report: dict[str, Any], groups: list[str]) -> str:
    drawn = []
    for name in groups:
        cells = [cell for cell in report["cells"] if cell["group"] == name]
        students = {cell["cell"]: cell["figures"]["student"]["values"] for cell in cells}
        found = [cell for cell in cells if cell["cell"] == report["baselines"][name]]
        levels = {f"teacher of {cell['cell']}": cell["figures"]["teacher"]["mean"] for cell in found}
        drawn.append((f"{name}: students by seed", strip_chart(students, "BLEU", levels)))
    return f"<h2>Students</h2><p>A point a seed, a bar their mean.</p>{figures(drawn)}"


def _group(report: dict[str, Any], name: str) -> str:
    cells = [cell for cell in report["cells"] if cell["group"] == name]
    shown = _shown(cells, NAMES)
    gains = [split for split in GAINS if any(split in cell["gains"] for cell in cells)]
    head = ("cell", "seeds", *(GAINS[split] for split in gains), *(NAMES[figure] for figure in shown),
            "updates of teacher, student")  # fmt: skip
    lines = [
        (
            cell["cell"],
            len(cell["seeds"]),
            *(_gain(cell["gains"].get(split)) for split in gains),
            *(_figure(cell, figure) for figure in shown),
            f"{cell['updates']['teacher']}, {cell['updates']['student']}",
        )
        for cell in cells
    ]
    about = (
        f"Gains in BLEU over {report['baselines'][name]}, seed by seed, with the p value of each seed's paired bootstrap; ± is the "
        "standard deviation over seeds."
    )
    return f"<h2>{text(name)}</h2><p>{text(about)}</p>{table(head, lines)}"


def _gain(gain: dict[str, Any] | None) -> str:
    if gain is None:
        return "-"
    return f"{with_spread(gain, sign='+')} (p {', '.join(f'{p:.3f}' for p in gain['p_values'])})"


def _runs(report: dict[str, Any]) -> str:
    """Every run, with its own report."""
    lines = []
    for run in report["runs"]:
        gains = (f"{GAINS[split]} {gain['bleu']:+.2f} over {gain['over']}, p = {gain['p_value']:.3f}" for split, gain in run["gains"].items())  # fmt: skip
        link = f'<a href="../{text(run["folder"])}/report/index.html">{text(run["folder"])}</a>'
        student = f"{run['figures']['student']:.2f}"
        lines.append(f"<tr><td>{link}</td><td>{student}</td><td>{text('; '.join(gains))}</td></tr>")
    head = "<tr><th>run</th><th>student</th><th>against the baseline, same seed</th></tr>"
    return f'<h2>Runs</h2><div class="wide"><table><thead>{head}</thead><tbody>{"".join(lines)}</tbody></table></div>'
