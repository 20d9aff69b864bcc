"""Rates of passes over a sample: in the best batches, in turns, beside the first system."""

import pytest

from emnat_jax.profiling.systems import SMALLEST
from emnat_jax.profiling.throughput import Search, measure_throughput
from emnat_jax.report.timings import Machine
from tests.profiling.fakes import Clock, Places, fake_system

MACHINE = Machine("1 x cpu", 1, None, "here", "3", {})
LENGTHS = [5] * 100


def test_the_best_batch_of_each_is_what_is_timed_in_turns(monkeypatch):
    clock, log = Clock(monkeypatch), []
    rows = fake_system("rows", clock, log, lambda size: {8: 4.0, 16: 2.0}.get(size, 3.0))
    tokens = fake_system("tokens", clock, log, lambda size: {256: 1.0}.get(size, 5.0), unit="tokens")
    first, second = measure_throughput([Search(rows), Search(tokens)], Places(LENGTHS), MACHINE, passes=3)
    everything = list(range(100))
    assert log[-6:] == [("rows", 16, everything), ("tokens", 256, everything)] * 3
    assert (first.batch, first.batch_unit, second.batch, second.batch_unit) == (16, "rows", 256, "tokens")
    assert first.tried == {"8": 25.0, "16": 50.0, "32": pytest.approx(100 / 3)}
    assert (first.sources_per_second, second.sources_per_second) == (50.0, 100.0)
    assert (first.ratio, second.ratio) == (1.0, 2.0)  # times as fast as the first
    assert first.target_tokens == 300 and first.target_tokens_per_second == 150.0
    assert (first.passes, first.bleu, first.bleu_signature) == (3, 100.0, "fake")


def test_candidates_are_searches_of_their_own(monkeypatch):
    clock, log = Clock(monkeypatch), []
    slow, fast = (fake_system(name, clock, log, lambda _, s=s: s) for name, s in (("a", 1.0), ("b", 0.5)))
    searches = [Search(system, count) for count in (1, 8) for system in (slow, fast)]
    one, _, eight, other = measure_throughput(searches, Places(LENGTHS), MACHINE, passes=1)
    assert (one.candidates, eight.candidates, eight.sources_per_second) == (1, 8, 100 / 8)
    assert (one.ratio, eight.ratio, other.ratio) == (1, 1, 2)  # against the first with as many
    assert one.batch == SMALLEST["rows"]  # nothing is gained by more
