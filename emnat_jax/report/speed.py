"""How fast the models of a run are, beside how good: what `emnat benchmark` measured."""

from collections.abc import Sequence

from emnat_jax.report.charts import scatter
from emnat_jax.report.markup import figures, table, text
from emnat_jax.report.timings import BatchTiming, Machine, Throughput, Timing

ABOUT = (
    "From raw lines to raw translations, compilation excluded; search, length prediction and rescoring are "
    "inside the time. A batch has sentences of similar length and, in JAX, is padded to the bucket of the "
    "longest; a batch that would not be full has some sentences again. BLEU is of the sentences that were "
    "timed, the first of the test split. Median and 95th percentile are of at least 20 batches."
)

ABOUT_TEXTS = (
    "Whole texts at once, from raw lines to raw translations, in the batches that suited each system best; "
    "the rate is that of the median pass."
)
ABOUT_SETS = (
    "Distillation: sources of the training set, tokens to tokens, in the batches that suited each system "
    "best. The tokens a second are those of the best translation of each source."
)


def speed(latency: Sequence[Timing]) -> tuple[str, str]:
    """Value and note of a card: the student as the rounds decode, against the fastest teacher there.

    Of the students that were timed where the last one was it is the fastest, in JAX or exported.
    """
    students = [timing for timing in latency if timing.role == "student" and not timing.changes]
    if not students:
        return "not measured", "emnat benchmark latency --role=student, and --role=teacher"
    student = _fastest(students)
    teacher = {item.batch: _fastest_teacher(latency, student, item.batch) for item in student.batches}
    compared = {
        item.batch: (_mean_ms(item), theirs)
        for item in student.batches
        if (theirs := teacher[item.batch]) is not None
    }
    if not compared:
        only = student.batches[0]
        about = f"{_runs(student)}, {only.batch} at a time, no teacher timed; {_where(student)[1]}"
        return f"{_mean_ms(only):.1f} ms a sentence", about
    notes = [
        f"{batch} at a time: {ours:.1f} against {theirs:.1f} ms a sentence"
        for batch, (ours, theirs) in compared.items()
    ]
    ours, theirs = next(iter(compared.values()))
    note = f"{_runs(student)} against the fastest teacher, {'; '.join(notes)}; {_where(student)[1]}"
    return f"{theirs / ours:.1f} times the teacher's", note


def speed_section(latency: Sequence[Timing], throughput: Sequence[Throughput] = ()) -> str:
    """Every system's last timing: a chart against quality, and the measurements."""
    parts = _latency_part(latency) + _throughput_part(throughput)
    return f"<h2>Speed</h2>{parts}" if parts else ""


def _latency_part(latency: Sequence[Timing]) -> str:
    last = {
        (timing.name, _place(timing), item.batch): (timing, item)
        for timing in latency
        for item in timing.batches
    }
    if not last:
        return ""
    points: dict[str, list[tuple[float, float, str]]] = {}
    for timing, item in last.values():
        if item.bleu is not None:
            points.setdefault(timing.name, []).append((_mean_ms(item), item.bleu, str(item.batch)))
    caption = "Quality and speed; each point is labelled with the number of sentences translated at a time"
    drawn = figures([(caption, scatter(points, "ms a sentence", "BLEU"))])
    signatures = "; ".join(dict.fromkeys(timing.bleu_signature or "none" for timing, _ in last.values()))
    note = f'<p class="note">{text(f"BLEU: {signatures}")}</p>'
    return f"<p>{text(ABOUT)}</p>{drawn}{_table(list(last.values()))}{note}"


def _throughput_part(throughput: Sequence[Throughput]) -> str:
    """Whole texts, raw lines to raw lines, and data sets, tokens to tokens, whose outputs have no BLEU."""
    last = {
        (
            rate.name,
            rate.candidates,
            rate.bleu is None,
            _where_it_ran(rate.machine.devices, rate.machine),
        ): rate
        for rate in throughput
    }
    texts = [rate for rate in last.values() if rate.bleu is not None]
    sets = [rate for rate in last.values() if rate.bleu is None]
    signatures = "; ".join(dict.fromkeys(rate.bleu_signature or "none" for rate in texts))
    note = f'<p class="note">{text(f"BLEU: {signatures}")}</p>' if texts else ""
    shown = [
        (ABOUT_TEXTS, texts, note),
        (ABOUT_SETS, sets, ""),
    ]
    return "".join(f"<p>{text(about)}</p>{_rates(rates)}{note}" for about, rates, note in shown if rates)


def _rates(rates: Sequence[Throughput]) -> str:
    head = (
        "system",
        "translations of each",
        "sources",
        "BLEU",
        "sources a second",
        "slowest pass",
        "fastest pass",
        "tokens a second",
        "batches of",
        "device",
    )
    lines = [
        (
            rate.name,
            rate.candidates,
            f"{rate.sources:,}",
            "-" if rate.bleu is None else f"{rate.bleu:.2f}",
            f"{rate.sources_per_second:.1f}",
            f"{rate.sources / rate.slowest_seconds:.1f}",
            f"{rate.sources / rate.fastest_seconds:.1f}",
            f"{rate.target_tokens_per_second:.0f}",
            f"{rate.batch} {rate.batch_unit}",
            _where_it_ran(rate.machine.devices, rate.machine),
        )
        for rate in rates
    ]
    return table(head, lines)


def _table(timings: Sequence[tuple[Timing, BatchTiming]]) -> str:
    head = (
        "system",
        "sentences at a time",
        "sentences timed",
        "their BLEU",
        "ms a sentence, mean",
        "sentences a second",
        "ms a batch, median",
        "95th percentile",
        "batches timed",
        "device",
    )
    lines = [
        (
            timing.name,
            item.batch,
            f"{timing.sentences:,}",
            "-" if item.bleu is None else f"{item.bleu:.2f}",
            f"{_mean_ms(item):.1f}",
            f"{item.sentences_per_second:.1f}",
            f"{item.median_ms:.1f}",
            f"{item.p95_ms:.1f}",
            item.calls,
            _place(timing),
        )
        for timing, item in timings
    ]
    return table(head, lines)


def _fastest(students: Sequence[Timing]) -> Timing:
    """By the first size of the last one, of those of its round that were timed where it was."""
    last = students[-1]
    size = last.batches[0].batch
    beside = {x.name: x for x in students if (_where(x), x.round) == (_where(last), last.round)}
    comparable = [x for x in beside.values() if x.batches[0].batch == size]
    return min(comparable, key=lambda timing: _mean_ms(timing.batches[0]))


def _fastest_teacher(latency: Sequence[Timing], student: Timing, batch: int) -> float | None:
    """Mean milliseconds a sentence; None where no teacher was timed on that device and these sentences."""
    teachers = [x for x in latency if x.role == "teacher" and _where(x) == _where(student)]
    found = [_mean_ms(item) for timing in teachers for item in timing.batches if item.batch == batch]
    return min(found, default=None)


def _where(timing: Timing) -> tuple[int, str]:
    """What two timings have in common that may be compared."""
    return timing.sentences, _place(timing)


def _place(timing: Timing) -> str:
    return _where_it_ran(timing.device, timing.machine)


def _where_it_ran(devices: str, machine: Machine | None) -> str:
    """The devices, with the cores where they are known: e.g. 1 x cpu, 2 cores."""
    if machine is None:
        return devices
    return f"{devices}, {machine.cores} core{'s' if machine.cores > 1 else ''}"


def _runs(timing: Timing) -> str:
    """The student, with what runs it where that is not JAX."""
    return "student" if timing.backend == "jax" else f"student ({timing.backend} {timing.precision})"


def _mean_ms(item: BatchTiming) -> float:
    return 1e3 / item.sentences_per_second
