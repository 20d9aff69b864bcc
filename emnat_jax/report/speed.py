"""How fast the models of a run are, beside how good: what `emnat benchmark latency` measured."""

from collections.abc import Sequence
from typing import Any

from emnat_jax.report.charts import scatter
from emnat_jax.report.markup import figures, table, text

Timings = Sequence[dict[str, Any]]


def speed(latency: Timings) -> tuple[str, str]:
    """Value and note of a box: the student, decoding as in the rounds, against the fastest teacher on the same device."""
    students = [item for item in latency if item["role"] == "student" and not item.get("changes")]
    if not students:
        return "not measured", "emnat benchmark latency --role=student, and --role=teacher"
    student, device = students[-1], _device(students[-1])
    means = {
        size: (_mean_ms(student, size), _fastest_teacher(latency, device, size))
        for size in student["figures"]
    }
    compared = {size: (ours, theirs) for size, (ours, theirs) in means.items() if theirs is not None}
    if not compared:
        size, (ours, _) = next(iter(means.items()))
        return f"{ours:.1f} ms a sentence", f"student, {_rows(size)} at a time, no teacher timed; {device}"
    notes = [
        f"{_rows(size)} at a time: {ours:.1f} against {theirs:.1f} ms a sentence"
        for size, (ours, theirs) in compared.items()
    ]
    ours, theirs = next(iter(compared.values()))
    note = f"student against the fastest teacher, {'; '.join(notes)}; {device}"
    return f"{theirs / ours:.1f} times the teacher's", note


def speed_section(latency: Timings) -> str:
    """Every system's last timing: a chart against quality, and the figures."""
    timings = {
        (item["name"], _device(item), size): (item, size) for item in latency for size in item["figures"]
    }
    if not timings:
        return ""
    points: dict[str, list[tuple[float, float, str]]] = {}
    for item, size in timings.values():
        if item["bleu"] is not None:
            points.setdefault(item["name"], []).append((_mean_ms(item, size), item["bleu"], _rows(size)))
    caption = "Quality and speed; at each point the sentences translated at a time"
    drawn = figures([(caption, scatter(points, "ms a sentence", "BLEU"))]) if points else ""
    about = (
        "From raw lines to raw translations, compilation left out; decoding, rescoring and the choice of a length are inside the "
        "time. BLEU is of the whole test split, decoded that way."
    )
    return f"<h2>Speed</h2><p>{text(about)}</p>{drawn}{_figures(list(timings.values()))}"


def _figures(timings: Sequence[tuple[dict[str, Any], str]]) -> str:
    head = (
        "system",
        "at a time",
        "BLEU",
        "ms a sentence, mean",
        "sentences a second",
        "ms a batch, median",
        "95th percentile",
        "device",
    )
    lines = []
    for item, size in timings:
        found, bleu = item["figures"][size], item["bleu"]
        lines.append((item["name"], _rows(size), "-" if bleu is None else f"{bleu:.2f}", f"{_mean_ms(item, size):.1f}",
                      f"{found['sentences_per_second']:.1f}", f"{found['median_ms']:.1f}", f"{found['p95_ms']:.1f}", _device(item)))  # fmt: skip
    return table(head, lines)


def _fastest_teacher(latency: Timings, device: str, size: str) -> float | None:
    """Mean milliseconds a sentence; None where no teacher was timed so."""
    teachers = [item for item in latency if item["role"] == "teacher" and _device(item) == device]
    return min((_mean_ms(item, size) for item in teachers if size in item["figures"]), default=None)


def _mean_ms(item: dict[str, Any], size: str) -> float:
    return 1e3 / item["figures"][size]["sentences_per_second"]


def _device(item: dict[str, Any]) -> str:
    return item.get("device", "device unknown")  # timings of early versions did not say


def _rows(size: str) -> str:
    """batch_64 -> 64."""
    return size.split("_")[1]
