"""How time and memory of the stages grow, as types and as text: what `emnat benchmark growth` measured."""

import dataclasses
import math
from collections.abc import Sequence

from emnat_jax.report.charts import Number
from emnat_jax.report.markup import columns_of_text
from emnat_jax.report.speed_text import about_machine
from emnat_jax.report.timings import Machine

# Exponents below each bound are called so: a cost of 2^exponent where the quantity doubles.
_KINDS = ((0.25, "constant"), (0.75, "below linear"), (1.25, "linear"), (1.75, "above linear"))
_WORST = "quadratic or worse"
MEGABYTE = 2**20


@dataclasses.dataclass(frozen=True)
class Place:
    """The quantities that the cost of a stage depends on."""

    sentences: int  # of the corpus
    length: int  # tokens of each sentence, EOS included
    batch: int  # sentences that the devices work on at once
    candidates: int  # translations of each source
    vocab: int  # ids, specials included


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one run of a stage takes, measured in a process of its own."""

    # Of the fastest run: of the processor, all threads; where an accelerator computes, on the clock.
    seconds: float
    runs: int
    first_seconds: float  # of a small or first run before these, with compilation and start-up
    memory_bytes: int  # at the peak of the runs: the arrays that the stage holds and what a run adds
    process_bytes: int  # at the same time of the whole process, with Python, JAX and compiled programs


@dataclasses.dataclass(frozen=True)
class Series:
    """One stage while one quantity grows and the others stay."""

    stage: str
    quantity: str  # a field of Place
    values: tuple[int, ...]
    costs: tuple[Cost, ...]  # at each value
    time_exponent: float
    memory_exponent: float | None  # None where the memory is too little to be seen


@dataclasses.dataclass(frozen=True)
class Growth:
    """All that was measured: growth.json."""

    size: str  # of the models, whose weights are random, with one layer a side
    family: str  # of the student
    base: Place  # where all series start
    shard_rows: int  # sentences of a record file, in all sets
    machine: Machine
    series: tuple[Series, ...]
    failed: tuple[str, ...]  # places that could not be measured, with the reason


def series(stage: str, quantity: str, costs: Sequence[tuple[int, Cost]]) -> Series:
    """The costs by the value of the quantity, with the exponents of their growth."""
    values = tuple(value for value, _ in costs)
    seconds = [cost.seconds for _, cost in costs]
    memory = [cost.memory_bytes for _, cost in costs]
    return Series(
        stage=stage,
        quantity=quantity,
        values=values,
        costs=tuple(cost for _, cost in costs),
        time_exponent=exponent(values, seconds),
        memory_exponent=exponent(values, memory) if min(memory) > 0 else None,
    )


LEAST = 1e-6  # seconds or bytes


def exponent(values: Sequence[Number], costs: Sequence[Number]) -> float:
    """The p with which costs ~ values^p fits best: the slope of a line through their logarithms.

    A cost of 0, less than a clock shows, counts as the smallest that is shown.
    """
    across, up = [math.log(value) for value in values], [math.log(cost or LEAST) for cost in costs]
    middle, height = sum(across) / len(across), sum(up) / len(up)
    covariance = sum((x - middle) * (y - height) for x, y in zip(across, up, strict=True))
    return covariance / sum((x - middle) ** 2 for x in across)


def kind_of_growth(found: float) -> str:
    """An exponent in words."""
    return next((name for bound, name in _KINDS if found < bound), _WORST)


def growth_text(growth: Growth) -> str:
    """A line for each series: the costs at its ends, and how they grow between."""
    head = ("stage", "quantity", "from", "to", "ms", "to", "~", "", "MB", "to", "~", "")
    rows = [head, *map(_line, growth.series)]
    wide = [max(len(row[column]) for row in rows) for column in range(len(head))]
    left = {0, 1, 7, 11}
    padded = [
        [cell.ljust(wide[place]) if place in left else cell for place, cell in enumerate(row)] for row in rows
    ]
    lines = [line.rstrip() for line in columns_of_text(padded)]
    return "\n".join([*lines, "", *_notes(growth)])


def _line(one: Series) -> tuple[str, ...]:
    first, last = one.costs[0], one.costs[-1]
    return (
        one.stage,
        one.quantity,
        f"{one.values[0]:,}",
        f"{one.values[-1]:,}",
        f"{1e3 * first.seconds:.1f}",
        f"{1e3 * last.seconds:.1f}",
        *_exponent_text(one.time_exponent),
        f"{first.memory_bytes / MEGABYTE:.1f}",
        f"{last.memory_bytes / MEGABYTE:.1f}",
        *_exponent_text(one.memory_exponent),
    )


def _exponent_text(found: float | None) -> tuple[str, str]:
    return ("-", "") if found is None else (f"{found:.2f}", kind_of_growth(found))


def _notes(growth: Growth) -> list[str]:
    base = ", ".join(f"{name} {value:,}" for name, value in dataclasses.asdict(growth.base).items())
    return [
        f"Size {growth.size} with a layer a side, student {growth.family}, random weights.",
        f"What does not grow stays at: {base}; record files have {growth.shard_rows:,} sentences.",
        "~ is the exponent: where the quantity doubles, the cost is 2^~ times as much.",
        "ms: of a run without compilation; processor time where a CPU computes, else time on the clock.",
        "MB of the host's memory: what the stage holds and a run adds at its peak.",
        *about_machine(growth.machine),
        *(f"not measured: {text}" for text in growth.failed),
    ]
