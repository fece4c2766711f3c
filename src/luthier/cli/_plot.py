"""Curves in a terminal: lines of braille, each letter of which holds 2 × 4 dots."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich.console import Group
from rich.text import Text

DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bit of each dot of a braille letter, by column and row."""


@dataclass(frozen=True)
class Line:
    """A curve: points by x, a name for the legend, and a rich style. `dotted`: so that it is told apart without colours, too."""

    name: str
    points: Sequence[tuple[float, float]]
    style: str
    dotted: bool = False


def plot(lines: Sequence[Line], width: int = 64, height: int = 12, x_name: str = "step") -> Group:
    """The curves over common axes; of two in one place the later one is seen. `width`, `height`: of the drawing, in letters."""
    points = [point for line in lines for point in line.points if math.isfinite(point[1])]
    low, high = min(y for _, y in points), max(y for _, y in points)
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    across, down = (last - first) or 1.0, (high - low) or 1.0
    cells: dict[tuple[int, int], tuple[int, str]] = {}
    for line in lines:
        dots = _thinned([(round((x - first) / across * (2 * width - 1)), y) for x, y in line.points if math.isfinite(y)])
        rows = [(column, round((high - y) / down * (4 * height - 1))) for column, y in dots]
        for column, row in _joined(rows)[:: 3 if line.dotted else 1]:
            bits, _ = cells.get((column // 2, row // 4), (0, ""))
            cells[column // 2, row // 4] = bits | DOTS[column % 2][row % 4], line.style
    labels = {0: high}
    if high > low:
        labels |= {height // 2: high - down * (4 * (height // 2) + 1.5) / (4 * height - 1), height - 1: low}
    margin = max(len(_number(value)) for value in labels.values())
    drawn = [_row(cells, row, width, margin, labels.get(row)) for row in range(height)]
    left, right = _number(first), f"{_number(last)} {x_name}"
    drawn.append(Text(" " * (margin + 2) + left + right.rjust(width - len(left)), style="dim"))
    legend = Text(" " * (margin + 2))
    for line in lines:
        legend.append("⠂⠂ " if line.dotted else "⠒⠒ ", line.style).append(f"{line.name}   ")
    return Group(*drawn, legend)


def _row(cells: dict[tuple[int, int], tuple[int, str]], row: int, width: int, margin: int, label: float | None) -> Text:
    text = Text("" if label is None else _number(label), style="dim")
    text.pad_left(margin - len(text))
    text.append(" ┤" if label is not None else " │")
    for column in range(width):
        bits, style = cells.get((column, row), (0, ""))
        text.append(chr(0x2800 + bits) if bits else " ", style)
    text.rstrip()
    return text


def _thinned(dots: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """One value a column, the mean of its points."""
    columns: dict[int, list[float]] = {}
    for column, y in dots:
        columns.setdefault(column, []).append(y)
    return [(column, sum(ys) / len(ys)) for column, ys in sorted(columns.items())]


def _joined(dots: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Every dot on the straight lines between neighbours."""
    found = dots[:1]
    for (x0, y0), (x1, y1) in pairwise(dots):
        steps = max(x1 - x0, abs(y1 - y0))
        found += [(x0 + round((x1 - x0) * i / steps), y0 + round((y1 - y0) * i / steps)) for i in range(1, steps + 1)]
    return found


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e9 else f"{value:.4g}"
