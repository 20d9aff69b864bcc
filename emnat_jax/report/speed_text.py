"""What `emnat benchmark` prints: timings as aligned text."""

from collections.abc import Callable, Sequence
from typing import Any

from emnat_jax.report.markup import columns_of_text
from emnat_jax.report.timings import BatchTiming, Machine, Throughput, Timing

_DRAFTING = (  # of what has it
    ("passes", lambda found: f"{found.passes:.2f}"),
    ("tokens/pass", lambda found: f"{found.tokens_a_pass:.2f}"),
    ("lossless", lambda found: "yes" if found.lossless else "NO"),
)
RATIO = "x is the speed against the first system"
Column = tuple[str, Callable[[Any], str]]  # head, and what a line has below it
_LATENCY: Sequence[Column] = (  # of a timing and one of its batch sizes
    ("system", lambda pair: pair[0].name),
    ("batch", lambda pair: str(pair[1].batch)),
    ("median ms", lambda pair: f"{pair[1].median_ms:.2f}"),
    ("95 % ms", lambda pair: f"{pair[1].p95_ms:.2f}"),
    ("mean ms", lambda pair: _number(pair[1].mean_ms)),
    ("sentences/s", lambda pair: f"{pair[1].sentences_per_second:.1f}"),
    ("x", lambda pair: _number(pair[1].ratio)),
    ("BLEU", lambda pair: _number(pair[1].bleu)),
    ("calls", lambda pair: str(pair[1].calls)),
)
_THROUGHPUT: Sequence[Column] = (
    ("system", lambda rate: rate.name),
    ("N", lambda rate: str(rate.candidates)),
    ("best batch", lambda rate: f"{rate.batch} {rate.batch_unit}"),
    ("sources/s", lambda rate: f"{rate.sources_per_second:.1f}"),
    ("tokens/s", lambda rate: f"{rate.target_tokens_per_second:.0f}"),
    (
        "slowest to fastest",
        lambda rate: (
            f"{rate.sources / rate.slowest_seconds:.1f} to {rate.sources / rate.fastest_seconds:.1f}"
        ),
    ),
    ("x", lambda rate: _number(rate.ratio)),
    ("BLEU", lambda rate: _number(rate.bleu)),
    ("passes", lambda rate: str(rate.passes)),
)


def latency_text(timings: Sequence[Timing]) -> str:
    """A line for each batch size and system, sizes one after the other."""
    first = timings[0]
    lines: list[tuple[Timing, BatchTiming]] = [
        (timing, timing.batches[size]) for size in range(len(first.batches)) for timing in timings
    ]
    what = _what(first.sentences, first.bleu_signature)
    return _text(
        [*_LATENCY, *_drafting(timings, lambda pair: pair[0])],
        lines,
        [*about_machine(first.machine), what, f"{RATIO} with that batch."],
    )


def throughput_text(rates: Sequence[Throughput]) -> str:
    """A line for each system and number of candidates."""
    first = rates[0]
    what = _what(first.sources, first.bleu_signature)
    return _text(
        [*_THROUGHPUT, *_drafting(rates, lambda rate: rate)],
        rates,
        [*about_machine(first.machine), what, f"{RATIO} with that N."],
    )


def _drafting(timed: Sequence[Timing | Throughput], of: Callable[[Any], Any]) -> list[Column]:
    """Columns of what checking drafts took, where any system does; `of` finds the system of a line."""

    def column(head: str, show: Callable[[Any], str]) -> Column:
        return head, lambda line: "-" if of(line).drafting is None else show(of(line).drafting)

    return [column(*one) for one in _DRAFTING] if any(one.drafting for one in timed) else []


def _text(columns: Sequence[Column], lines: Sequence[Any], notes: Sequence[str]) -> str:
    """Names to the left, numbers to the right, and notes below."""
    rows = [[head for head, _ in columns], *([show(line) for _, show in columns] for line in lines)]
    width = max(len(row[0]) for row in rows)
    return "\n".join([*columns_of_text([[row[0].ljust(width), *row[1:]] for row in rows]), "", *notes])


def about_machine(machine: Machine | None) -> list[str]:
    """What timings were taken on; nothing where it was not kept."""
    if machine is None:
        return []
    cores = f"{machine.cores} core{'s' if machine.cores > 1 else ''}"
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return [f"{cores} of {machine.cpu or 'an unnamed processor'}; JAX on {machine.devices}", versions]


def _what(sources: int, signature: str | None) -> str:
    return f"{sources:,} sources" + (f"; BLEU of their translations: {signature}" if signature else "")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
