"""Charts as SVG text, readable without a script; every mark says its value when pointed at.

The kinds of chart; which of them a page shows stands in curves.py, choices.py, speed.py and sweep_page.py.
"""

import html
import math
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 480, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 24, 12, 40
LETTER = 6.5  # width of one, about
# Told apart on white and on black.
COLOURS = ("#2f7fc1", "#d9600a", "#3d9950", "#9a5cf5", "#c2385a", "#7a7a7a")
STROKES = (("none", "solid"), ("8 4", "dashed"), ("2 3", "dotted"))  # and without colours: of SVG, of CSS
Number = float | int
Points = Sequence[Sequence[Number]]  # (across, up)


def line_chart(series: Mapping[str, Points], across: str, up: str) -> str:
    """One line per series over the axes named `across` and `up`; dots where there are few points."""
    return line_drawing(series, across, up) + _legend(list(series), lines=True)


def line_drawing(series: Mapping[str, Points], across: str, up: str) -> str:
    """The same without the names of the series."""
    points = [point for line in series.values() for point in line]
    frame = _Frame([x for x, _ in points], [y for _, y in points], (across, up))
    marks = []
    for number, ((name, line), colour) in enumerate(zip(series.items(), _cycle(len(series)))):
        place = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in line)
        dashes = stroke_of(number)[0]
        marks.append(
            f'<polyline points="{place}" fill="none" stroke="{colour}" stroke-width="2" '
            f'stroke-dasharray="{dashes}"/>'
        )
        if len(line) <= 30:
            marks += [
                _dot(frame, x, y, colour, f"{name}: {_number(y)} at {across} {_number(x)}") for x, y in line
            ]
    return _chart(frame, marks, legend="")


def scatter(series: Mapping[str, Sequence[tuple[Number, Number, str]]], across: str, up: str) -> str:
    """Points (across, up, label), one colour per series."""
    points = [point for group in series.values() for point in group]
    frame = _Frame([0.0, *(1.05 * x for x, _, _ in points)], [y for _, y, _ in points], (across, up))
    marks = []
    for (name, group), colour in zip(series.items(), _cycle(len(series))):
        for x, y, label in group:
            about = f"{name}, {label}: {_number(y)} {up}, {_number(x)} {across}"
            marks.append(_dot(frame, x, y, colour, about, radius=6))
            marks.append(_text(frame.x(x), frame.y(y) - 9, "middle", label))
    return _chart(frame, marks, _legend(list(series)))


def bar_chart(groups: Sequence[str], series: Mapping[str, Sequence[Number]], across: str, up: str) -> str:
    """Grouped bars: one group per name of `groups`, one colour per series."""
    heights = [value for values in series.values() for value in values]
    frame = _Frame([0, len(groups)], [0.0, *heights], (across, up), groups)
    wide = (WIDTH - LEFT - RIGHT) / max(len(groups), 1)
    each = 0.8 * wide / max(len(series), 1)
    marks = []
    for number, ((name, values), colour) in enumerate(zip(series.items(), _cycle(len(series)))):
        for place, value in enumerate(values):
            left = LEFT + place * wide + 0.1 * wide + number * each
            top, bottom = sorted((frame.y(value), frame.y(max(0.0, frame.low))))
            title = f"<title>{html.escape(f'{name}, {groups[place]}: {_number(value)}')}</title>"
            size = f'width="{each:.1f}" height="{bottom - top:.1f}"'
            marks.append(f'<rect x="{left:.1f}" y="{top:.1f}" {size} fill="{colour}">{title}</rect>')
    return _chart(frame, marks, _legend(list(series)))


def strip_chart(groups: Mapping[str, Sequence[Number]], up: str, levels: Mapping[str, Number]) -> str:
    """One dot per value above its group's name, a bar at the mean, a dashed line per level."""
    values = [value for group in groups.values() for value in group]
    frame = _Frame([0, len(groups)], [*values, *levels.values()], ("", up), list(groups))
    marks = [_level(frame, value, f"{name}: {_number(value)}") for name, value in levels.items()]
    for place, ((name, group), colour) in enumerate(zip(groups.items(), _cycle(len(groups)))):
        mean = sum(group) / len(group)
        left, right, height = frame.x(place + 0.2), frame.x(place + 0.8), frame.y(mean)
        marks.append(
            f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{height:.1f}" y2="{height:.1f}" '
            f'stroke="{colour}" stroke-width="3"/>'
        )
        marks += [_dot(frame, place + 0.5, value, colour, f"{name}: {value:.2f}") for value in group]
    return _chart(frame, marks, legend="")


def _level(frame: "_Frame", value: Number, name: str) -> str:
    height = frame.y(value)
    return (
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" y2="{height:.1f}" stroke="currentColor" '
        f'stroke-dasharray="5 4"/>{_text(WIDTH - RIGHT, height - 4, "end", name)}'
    )


def _group_names(frame: "_Frame") -> list[str]:
    """The name of each group below its place; slanted where they do not fit side by side."""
    bottom = HEIGHT - BOTTOM + 15
    marks = []
    for place, name in enumerate(frame.groups):
        x = frame.x(place + 0.5)
        turn = f' transform="rotate(-60 {x:.1f} {bottom})"' if frame.room else ""
        marks.append(_text(x, bottom, "end" if frame.room else "middle", name, turn))
    return marks


def _room(groups: Sequence[str]) -> Number:
    """Height that slanted names take below the axis, 0 where they fit side by side."""
    widest = LETTER * max((len(str(name)) for name in groups), default=0)
    fits = widest * len(groups) <= WIDTH - LEFT - RIGHT
    return 0 if fits else math.ceil(widest * math.sin(math.radians(60))) - 10


class _Frame:
    """From values to places in the picture, with the names of both axes; across, either values or groups."""

    def __init__(
        self,
        across: Sequence[Number],
        up: Sequence[Number],
        names: tuple[str, str],
        groups: Sequence[str] = (),
    ):
        self.names, self.groups, self.room = names, groups, _room(groups)
        self.first, self.last = min(across, default=0), max(across, default=1)
        if self.first == self.last:
            self.first, self.last = self.first - 1, self.last + 1
        self.ticks = _ticks(min(up, default=0), max(up, default=1))
        self.low, self.high = self.ticks[0], self.ticks[-1]

    def x(self, value: Number) -> Number:
        return LEFT + (value - self.first) / (self.last - self.first) * (WIDTH - LEFT - RIGHT)

    def y(self, value: Number) -> Number:
        return HEIGHT - BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)


def _ticks(low: Number, high: Number) -> list:
    """About five round numbers that span `low` to `high`."""
    if high <= low:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / 4
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [place * step for place in range(first, max(last, first + 1) + 1)]


def _chart(frame: _Frame, marks: Sequence[str], legend: str) -> str:
    """The axes with the marks between them."""
    (across, up), height = frame.names, HEIGHT + frame.room
    centre, middle = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    turned = f' transform="rotate(-90 12 {middle})"'
    names = [_text(centre, height - 6, "middle", across), _text(12, middle, "middle", up, turned)]
    below = _group_names(frame) if frame.groups else _ticks_below(frame)
    drawing = "".join([*_grid(frame), *below, *marks, *names])
    label, size = html.escape(f"{up} by {across}"), f'width="{WIDTH}" height="{height}"'
    head = f'<svg viewBox="0 0 {WIDTH} {height}" {size} role="img" aria-label="{label}">'
    return f"{head}{drawing}</svg>{legend}"


def _grid(frame: _Frame) -> list[str]:
    """A line with its value at every tick."""
    lines = []
    for tick in frame.ticks:
        y = frame.y(tick)
        lines.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        lines.append(_text(LEFT - 6, y + 4, "end", _tick(tick, frame.ticks)))
    return lines


def _ticks_below(frame: _Frame) -> list[str]:
    shown = _whole_ticks(frame.first, frame.last)
    return [_text(frame.x(tick), HEIGHT - BOTTOM + 15, "middle", _tick(tick, shown)) for tick in shown]


def _whole_ticks(first: Number, last: Number) -> list:
    """Ticks inside the frame, whole numbers where the axis counts."""
    found = [tick for tick in _ticks(first, last) if first <= tick <= last]
    if float(first).is_integer() and float(last).is_integer() and last - first <= 10:
        return [float(value) for value in range(int(first), int(last) + 1)]
    return found


def _text(x: Number, y: Number, anchor: str, shown: str, more: str = "") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}'
    return f"<text {place}>{html.escape(shown)}</text>"


def _dot(frame: _Frame, x: Number, y: Number, colour: str, about: str, radius: Number = 3.5) -> str:
    place = f'cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="{radius}"'
    return f'<circle {place} fill="{colour}"><title>{html.escape(about)}</title></circle>'


def _legend(names: list[str], *, lines: bool = False) -> str:
    if len(names) < 2:
        return ""
    items = (
        f'<span><i style="{_key(place, colour, lines)}"></i>{html.escape(name)}</span>'
        for place, (name, colour) in enumerate(zip(names, _cycle(len(names))))
    )
    return f'<p class="legend">{"".join(items)}</p>'


def _key(place: int, colour: str, line: bool) -> str:
    if not line:
        return f"background:{colour}"
    return f"height:0;width:24px;border-radius:0;border-top:3px {stroke_of(place)[1]} {colour}"


def _cycle(count: int) -> list[str]:
    return [colour_of(place) for place in range(count)]


def colour_of(place: int) -> str:
    """The colour of a series by its place among the others."""
    return COLOURS[place % len(COLOURS)]


def stroke_of(place: int) -> tuple[str, str]:
    """The stroke of its line; where colours come again, with another one."""
    return STROKES[(place + place // len(COLOURS)) % len(STROKES)]


def _number(value: Number) -> str:
    """Three significant digits, or all of a whole number."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.3g}"


def _tick(value: Number, ticks: Sequence[Number]) -> str:
    """With as many decimals as the distance of the ticks needs."""
    step = abs(ticks[1] - ticks[0]) if len(ticks) > 1 else value
    digits = next((n for n in range(9) if abs(round(step, n) - step) <= 1e-9 * abs(step)), 9)
    return f"{value:,.{digits}f}"
