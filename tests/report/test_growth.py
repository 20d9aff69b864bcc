"""Growth in figures, in words and as a picture."""

import xml.etree.ElementTree as xml

import pytest

from emnat_jax.report.charts import COLOURS, STROKES, colour_of, stroke_of
from emnat_jax.report.growth import Cost, Growth, Place, exponent, growth_text, kind_of_growth, series
from emnat_jax.report.growth_chart import doublings, growth_svg
from tests.report.test_convert import MACHINE

SVG = "{http://www.w3.org/2000/svg}"


def costs(seconds, memory):
    """At 10, 20, 40."""
    made = [Cost(s, 3, 1.0, int(m), 10**9) for s, m in zip(seconds, memory, strict=True)]
    return list(zip((10, 20, 40), made, strict=True))


LINEAR = series("beam", "length", costs((0.1, 0.2, 0.4), (2**20, 2**22, 2**24)))
FLAT = series("read", "length", costs((0.1, 0.1, 0.1), (0, 0, 2**20)))
GROWTH = Growth("tiny", "dag", Place(9, 10, 8, 7, 6), 1_000, MACHINE, (LINEAR, FLAT), ("beam (x): no room",))


@pytest.mark.parametrize("power", [0, 1, 2, 1.5])
def test_an_exponent_is_that_of_the_power_and_no_factor_matters(power):
    values = (3, 6, 12, 96)
    assert exponent(values, [7 * value**power for value in values]) == pytest.approx(power, abs=1e-12)


def test_a_cost_that_the_clock_does_not_show_counts_as_a_small_one():
    assert exponent((1, 2), (0.0, 1.0)) > 10


def test_exponents_have_words():
    words = [kind_of_growth(found) for found in (-0.3, 0.0, 0.5, 0.9, 1.1, 1.5, 2.0, 3.0)]
    linear = ["linear", "linear", "above linear"]
    assert words == ["constant", "constant", "below linear", *linear, *["quadratic or worse"] * 2]


def test_memory_that_is_not_seen_has_no_exponent():
    assert (LINEAR.time_exponent, LINEAR.memory_exponent) == pytest.approx((1.0, 2.0))
    assert FLAT.time_exponent == pytest.approx(0.0, abs=1e-12) and FLAT.memory_exponent is None


def test_the_table_says_how_everything_grows_and_what_is_missing():
    lines = growth_text(GROWTH).splitlines()
    shown = [" ".join(line.split()) for line in lines[:3]]
    assert shown[1] == "beam length 10 40 100.0 400.0 1.00 linear 1.0 16.0 2.00 quadratic or worse"
    assert shown[2] == "read length 10 40 100.0 100.0 0.00 constant 0.0 1.0 -"
    assert "sentences 9, length 10, batch 8, candidates 7, vocab 6" in lines[5]
    assert lines[-1] == "not measured: beam (x): no room"


def test_the_picture_counts_doublings_so_that_slopes_are_exponents():
    assert doublings((10, 20, 40), (3, 12, 48)) == [(0, 0), (1, 2), (2, 4)]
    root = xml.fromstring(growth_svg(GROWTH))
    titles = [text.text for text in root.iter(f"{SVG}text") if text.get("class") == "title"]
    assert titles == ["time by length, from 10 on", "memory by length, from 10 on"]
    drawn = [len(list(chart.iter(f"{SVG}polyline"))) for chart in root.iter(f"{SVG}svg") if chart is not root]
    assert drawn == [3, 2]  # with the line of linear growth; no memory of `read`
    assert all(chart.get("width") and chart.get("height") for chart in root.iter(f"{SVG}svg"))


def test_many_lines_of_a_chart_are_told_apart():
    count = len(COLOURS) * len(STROKES)
    assert len({(colour_of(place), stroke_of(place)) for place in range(count)}) == count
