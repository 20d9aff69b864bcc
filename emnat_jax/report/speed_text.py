"""What `emnat benchmark` prints: timings as aligned text."""

from collections.abc import Sequence

from emnat_jax.report.markup import columns_of_text
from emnat_jax.report.timings import Machine, Throughput, Timing

RATIO = "x is the speed against the first system"


def latency_text(timings: Sequence[Timing]) -> str:
    """A line for each batch size and system, sizes one after the other."""
    head = ("system", "batch", "median ms", "95 % ms", "mean ms", "sentences/s", "x", "BLEU", "calls")
    rows = [
        (
            timing.name,
            str(item.batch),
            f"{item.median_ms:.2f}",
            f"{item.p95_ms:.2f}",
            _number(item.mean_ms, 2),
            f"{item.sentences_per_second:.1f}",
            _number(item.ratio, 2),
            _number(item.bleu, 2),
            str(item.calls),
        )
        for size in range(len(timings[0].batches))
        for timing, item in ((timing, timing.batches[size]) for timing in timings)
    ]
    first = timings[0]
    notes = [
        *_about(first.machine),
        _what(first.sentences, first.bleu_signature),
        f"{RATIO} with that batch.",
    ]
    return _text(head, rows, notes)


def throughput_text(rates: Sequence[Throughput]) -> str:
    """A line for each system and number of candidates."""
    head = ("system", "N", "best batch", "sources/s", "tokens/s", "slowest to fastest", "x", "BLEU", "passes")
    rows = [
        (
            rate.name,
            str(rate.candidates),
            f"{rate.batch} {rate.batch_unit}",
            f"{rate.sources_per_second:.1f}",
            f"{rate.target_tokens_per_second:.0f}",
            f"{rate.sources / rate.slowest_seconds:.1f} to {rate.sources / rate.fastest_seconds:.1f}",
            f"{rate.ratio:.2f}",
            _number(rate.bleu, 2),
            str(rate.passes),
        )
        for rate in rates
    ]
    first = rates[0]
    notes = [*_about(first.machine), _what(first.sources, first.bleu_signature), f"{RATIO} with that N."]
    return _text(head, rows, notes)


def _text(head: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    """Names to the left, numbers to the right, and notes below."""
    width = max(len(row[0]) for row in (head, *rows))
    lines = columns_of_text([(row[0].ljust(width), *row[1:]) for row in (head, *rows)])
    return "\n".join([*lines, "", *notes])


def _about(machine: Machine | None) -> list[str]:
    if machine is None:
        return []
    cores = f"{machine.cores} core{'s' if machine.cores > 1 else ''}"
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return [f"{cores} of {machine.cpu or 'an unnamed processor'}; JAX on {machine.devices}", versions]


def _what(sources: int, signature: str | None) -> str:
    return f"{sources:,} sources" + (f"; BLEU of their translations: {signature}" if signature else "")


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
