"""Timings as text: columns that stand under their heads, and what the reader has to know."""

import dataclasses

from emnat_jax.report.speed_text import latency_text, throughput_text
from emnat_jax.report.timings import BatchTiming
from tests.report.test_convert import EXPORTED, RATE, TIMING


def test_systems_of_one_batch_size_stand_below_each_other():
    sizes = tuple(BatchTiming(n, 20, 1.0, 2.0, 3.0, 4.0, 20.0, 1.5, 0.5) for n in (1, 32))
    first = dataclasses.replace(EXPORTED, name="a", batches=sizes)
    second = dataclasses.replace(TIMING, name="long name", batches=sizes)
    lines = latency_text([first, second]).splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["system", "a", "long", "a", "long"]
    assert lines[3].split() == ["a", "32", "1.00", "2.00", "1.50", "3.0", "0.50", "20.00", "20"]
    assert len({len(line) for line in lines[:5]}) == 1
    assert lines[6:9] == [
        "2 cores of A processor; JAX on 1 x cpu",
        "jax 1, onnxruntime None",
        "8 sources; BLEU of their translations: tok:13a",
    ]


def test_rates_show_how_far_the_passes_were_apart():
    lines = throughput_text([RATE]).splitlines()
    assert " ".join(lines[1].split()) == "teacher 8 64 rows 2.0 18 1.7 to 2.5 1.00 - 3"
    assert lines[5] == "100 sources"  # no BLEU, no signature
