"""How many sources a second a system translates, in the batches that suit it best."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from emnat_jax.profiling.samples import Sample
from emnat_jax.profiling.side_by_side import Best, Call, best_size, interleaved, timed
from emnat_jax.profiling.systems import ROWS, SMALLEST, System, drafting_of
from emnat_jax.report.timings import Machine, Throughput


class Search(NamedTuple):
    """A system and how many translations of each source it looks for."""

    system: System
    candidates: int = 1


class _Ready(NamedTuple):
    """A search that has found its batches and has run."""

    search: Search
    best: Best
    call: Call
    first_pass_seconds: float
    outputs: list[Any]


def measure_throughput(
    searches: Sequence[Search],
    sample: Sample,
    machine: Machine,
    passes: int,
    note: Callable[[str], None] = lambda text: None,
) -> list[Throughput]:
    """Of each search the rate of passes over the whole sample, in turns, in the best batches.

    First each search looks for its best batch by itself: from the smallest one on, doubled until it gets no
    better, each size once to warm up and once timed. A pass is one call with all sources, which the model
    sorts and cuts into batches as it does for its users.
    """
    ready = [_ready(search, sample, note) for search in searches]
    note(f"{passes} passes of each, in turns")
    seconds = interleaved([[one.call] for one in ready], passes)
    first: dict[int, float] = {}  # candidates -> median seconds of the first system
    for one, times in zip(ready, seconds, strict=True):
        first.setdefault(one.search.candidates, float(np.median(times)))
    return [
        _record(one, sample, times, machine, first[one.search.candidates])
        for one, times in zip(ready, seconds, strict=True)
    ]


def _ready(search: Search, sample: Sample, note: Callable[[str], None]) -> _Ready:
    system, count = search.system, len(sample.lengths)
    name = system.about.name + (f", {search.candidates} best" if search.candidates > 1 else "")
    first: dict[int, tuple[Call, float, list[Any]]] = {}

    def rate_of(size: int) -> float:
        call = sample.call(system.of_size(size), range(count), search.candidates)
        warm = timed(call)
        first[size] = call, warm.seconds, warm.result
        rate = count / timed(call).seconds
        note(f"{name}: batches of {size} {system.unit}: {rate:.1f} sources a second")
        return rate

    largest = count if system.unit == ROWS else sum(sample.lengths)
    best = best_size(rate_of, SMALLEST[system.unit], largest, note)
    return _Ready(search, best, *first[best.size])


def _record(
    ready: _Ready, sample: Sample, seconds: Sequence[float], machine: Machine, reference: float
) -> Throughput:
    system, count = ready.search.system, len(sample.lengths)
    median, tokens = float(np.median(seconds)), sample.target_tokens(ready.outputs)
    return Throughput(
        **{field.name: getattr(system.about, field.name) for field in dataclasses.fields(system.about)},
        candidates=ready.search.candidates,
        batch=ready.best.size,
        batch_unit=system.unit,
        tried={str(size): rate for size, rate in ready.best.tried.items()},
        sources=count,
        target_tokens=tokens,
        passes=len(seconds),
        median_seconds=median,
        fastest_seconds=min(seconds),
        slowest_seconds=max(seconds),
        sources_per_second=count / median,
        target_tokens_per_second=tokens / median,
        ratio=reference / median,
        first_pass_seconds=ready.first_pass_seconds,
        bleu=sample.bleu(ready.outputs),
        bleu_signature=sample.bleu_signature,
        machine=machine,
        drafting=drafting_of(system, sample),
    )
