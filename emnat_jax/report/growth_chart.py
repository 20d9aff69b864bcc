"""The growth of all stages as one picture: time and memory, a row of charts for each quantity."""

import html
import math
from collections.abc import Callable, Mapping, Sequence

from emnat_jax.report.charts import HEIGHT, WIDTH, Number, Points, colour_of, line_drawing, stroke_of
from emnat_jax.report.growth import Growth, Series

_TITLE, _LEGEND_LINE, _IN_A_ROW, _MARGIN = 22, 16, 4, 12
_LINEAR = "(linear growth)"  # a line to compare the others with
_STYLE = "text { font: 12px sans-serif; fill: #222 } .grid { stroke: #ddd } .title { font-weight: bold }"


def growth_svg(growth: Growth) -> str:
    """A file of its own. Axes count doublings, so that a slope of 1 is linear growth, of 2 quadratic."""
    quantities = list(dict.fromkeys(one.quantity for one in growth.series))
    parts, top = [], 0
    for quantity in quantities:
        of_quantity = [one for one in growth.series if one.quantity == quantity]
        drawn = [
            _panel(of_quantity, "time", lambda one: [cost.seconds for cost in one.costs]),
            _panel(
                [one for one in of_quantity if one.memory_exponent is not None],
                "memory",
                lambda one: [cost.memory_bytes for cost in one.costs],
            ),
        ]
        parts += [
            f'<g transform="translate({_MARGIN + place * (WIDTH + _MARGIN)} {top})">{text}</g>'
            for place, (text, _) in enumerate(drawn)
        ]
        top += max(height for _, height in drawn) + _MARGIN
    wide = 2 * WIDTH + 3 * _MARGIN
    size = f'viewBox="0 0 {wide} {top}" width="{wide}" height="{top}"'
    paper = f'<style>{_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{paper}{"".join(parts)}</svg>'


def _panel(
    shown: Sequence[Series], cost: str, costs_of: Callable[[Series], Sequence[Number]]
) -> tuple[str, int]:
    """The chart of one quantity with its title and legend, and its height; empty where nothing was seen."""
    if not shown:
        return "", 0
    quantity, first = shown[0].quantity, shown[0].values[0]
    lines = {one.stage: doublings(one.values, costs_of(one)) for one in shown}
    end = max(across for line in lines.values() for across, _ in line)
    lines[_LINEAR] = [(0.0, 0.0), (end, end)]
    title = f'<text x="8" y="15" class="title">{cost} by {html.escape(quantity)}, from {first:,} on</text>'
    chart = line_drawing(lines, f"doublings of {quantity}", f"doublings of the {cost}")
    legend = _legend(lines)
    height = _TITLE + HEIGHT + _LEGEND_LINE * -(-len(lines) // _IN_A_ROW)
    places = f'<g transform="translate(0 {_TITLE})">{chart}</g><g transform="translate(0 {_TITLE + HEIGHT})">'
    return f"{title}{places}{legend}</g>", height


def doublings(values: Sequence[Number], costs: Sequence[Number]) -> Points:
    """How often a quantity and its cost have doubled since the first."""
    pairs = zip(values, costs, strict=True)
    return [(math.log2(value / values[0]), math.log2(cost / costs[0])) for value, cost in pairs]


def _legend(lines: Mapping[str, Points]) -> str:
    step = WIDTH // _IN_A_ROW
    marks = []
    for number, name in enumerate(lines):
        x, y = 8 + number % _IN_A_ROW * step, 10 + number // _IN_A_ROW * _LEGEND_LINE
        marks.append(
            f'<line x1="{x}" x2="{x + 20}" y1="{y - 4}" y2="{y - 4}" stroke="{colour_of(number)}" '
            f'stroke-width="2" stroke-dasharray="{stroke_of(number)[0]}"/>'
            f'<text x="{x + 25}" y="{y}">{html.escape(name)}</text>'
        )
    return "".join(marks)
