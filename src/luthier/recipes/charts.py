"""Line charts as inline SVG. Colours come from the page's style sheet, so that a chart is light or dark as the page is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 14, 40
"""Margins for the axes' numbers, in the units of the drawing."""


@dataclass(frozen=True)
class Line:
    """`points`: (x, y), x ascending. `style`: the CSS class, `raw`, `smooth` or `held-out`. Dots where `dots`."""

    name: str
    points: tuple[tuple[float, float], ...]
    style: str
    dots: bool = False


def line_chart(lines: Sequence[Line], title: str, x_title: str, as_share: bool = False) -> str:
    """A chart of lines over one pair of axes, as SVG; empty where no line has a point. `as_share`: y in percent."""
    points = [point for line in lines for point in line.points]
    if not points:
        return ""
    (first, last), heights = _span([x for x, _ in points]), _span([y for _, y in points])
    x_ticks, y_ticks = ticks(first, last, whole=True), ticks(*heights)
    place = _Placement(first, last, y_ticks[0], y_ticks[-1])
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        *_axes(place, [x for x in x_ticks if place.left <= x <= place.right], y_ticks, as_share),
        f'<text class="axis-title" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_title)}</text>',
        *(_path(line, place) for line in lines if line.points),
        *(_dots(line, place, as_share) for line in lines if line.dots),
        "</svg>",
    ]
    return "\n".join(parts)


def ticks(low: float, high: float, number: int = 5, whole: bool = False) -> list[float]:
    """About `number` round values, from the last one at or below `low` to the first one at or above `high`."""
    span = high - low or abs(high) or 1.0
    size = 10 ** math.floor(math.log10(span / number))
    step = next(size * factor for factor in (1, 2, 5, 10) if span / (size * factor) <= number)
    if whole:
        step = max(1.0, round(step))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [k * step for k in range(first, max(last, first + 1) + 1)]


def smooth(values: Sequence[float], window: int) -> list[float]:
    """The mean of each value and its neighbours, half a window to each side; at the ends of those there are."""
    half = window // 2
    around = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    return [sum(part) / len(part) for part in around]


@dataclass(frozen=True)
class _Placement:
    """From values to places in the drawing."""

    left: float
    right: float
    bottom: float
    top: float

    def x(self, value: float) -> float:
        return LEFT + (value - self.left) / ((self.right - self.left) or 1) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.bottom) / ((self.top - self.bottom) or 1) * (HEIGHT - TOP - BOTTOM)


def _span(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def _axes(place: _Placement, x_ticks: Sequence[float], y_ticks: Sequence[float], as_share: bool) -> list[str]:
    return [
        *(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place.y(y):.1f}" y2="{place.y(y):.1f}"/>'
            f'<text class="tick" x="{LEFT - 8}" y="{place.y(y):.1f}" dy="0.35em" text-anchor="end">{_number(y, y_ticks, as_share)}</text>'
            for y in y_ticks
        ),
        *(
            f'<text class="tick" x="{place.x(x):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{_number(x, x_ticks, False)}</text>'
            for x in x_ticks
        ),
    ]


def _number(value: float, among: Sequence[float], as_share: bool) -> str:
    step = (among[1] - among[0] if len(among) > 1 else 1.0) * (100 if as_share else 1)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value * 100:.{digits}f} %" if as_share else f"{value:,.{digits}f}"


def _path(line: Line, place: _Placement) -> str:
    places = " ".join(f"{place.x(x):.1f},{place.y(y):.1f}" for x, y in line.points)
    return f'<polyline class="{line.style}" points="{places}"/>'


def _dots(line: Line, place: _Placement, as_share: bool) -> str:
    return "".join(
        f'<circle class="{line.style}" cx="{place.x(x):.1f}" cy="{place.y(y):.1f}" r="3.5">'
        f"<title>{escape(line.name)}, step {x:,.0f}: {f'{y * 100:.1f} %' if as_share else f'{y:.4f}'}</title></circle>"
        for x, y in line.points
    )
