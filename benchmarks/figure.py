"""Speed, memory and start of both sides as a picture: `python -m benchmarks.figure RESULTS.json` writes an SVG and a PNG beside it.

Cases whose limit is not known stand in a picture of their own, `…-learning.svg`.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from benchmarks.results import GIB, CaseResult, Measurement, Results, Spread, read

OURS, PEER, INK, FAINT = "#b4552d", "#b9b4aa", "#2b2724", "#8a837a"
HEIGHT = 0.34
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": INK,
    "svg.hashsalt": "luthier",
    "figure.facecolor": "white",
}

Value = Callable[[Measurement], float]


def draw(found: Results, path: Path) -> None:
    """Write `path` with .svg and .png; nothing for kinds of cases that there are none of."""
    for end, has_limit in (("", True), ("-learning", False)):
        cases = [case for case in found.cases.values() if case.has_limit == has_limit]
        if cases:
            _draw(found, cases, path.with_name(f"{path.stem}{end}"))


def _draw(found: Results, cases: list[CaseResult], path: Path) -> None:
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(1, 3, figsize=(13, 1.75 + 1.05 * len(cases)), width_ratios=(1.5, 1, 1), sharey=True)
        _speed(panels[0], cases)
        _bars(panels[1], cases, lambda m: m.peak_bytes / GIB, "Peak memory, GiB", "{:.1f}", "peak_bytes")
        _bars(panels[2], cases, lambda m: m.first_step_s, "Time to the first step, s", "{:.0f}", "first_step_s")
        panels[0].set_yticks(range(len(cases)), [_label(case) for case in cases])
        panels[0].set_ylim(len(cases) - 0.45, -0.55)
        figure.legend(handles=_legend(cases), loc="upper right", ncols=2, frameon=False, bbox_to_anchor=(0.995, 1.0), fontsize=10)
        title = "Luthier and TRL, side by side in one run" if any(case.has_peer for case in cases) else "Luthier"
        figure.suptitle(title, x=0.012, y=0.975, ha="left", fontsize=14, fontweight="bold")
        figure.text(
            0.012, 0.015, f"{found.machine} · {found.date} · bars: medians; lines: lowest to highest round", fontsize=8.5, color=FAINT
        )
        figure.tight_layout(rect=(0, 0.045, 1, 0.95), w_pad=2.5)
        for suffix, more in ((".svg", {"metadata": {"Date": None}}), (".png", {"dpi": 160})):
            figure.savefig(path.with_name(f"{path.name}{suffix}"), **more)
        plt.close(figure)


def _label(case: CaseResult) -> str:
    return case.title.replace(", ", "\n", 1)


def _legend(cases: list[CaseResult]) -> list[Patch]:
    handles = [Patch(color=OURS, label="Luthier")]
    return [*handles, Patch(color=PEER, label="TRL + PEFT at its best settings")] if any(case.has_peer for case in cases) else handles


def _sides(case: CaseResult) -> list[tuple[list[Measurement], str, float]]:
    """(measurements, colour, offset from the middle) of each side."""
    ours, theirs = [r.ours for r in case.rounds], [r.peer for r in case.rounds if r.peer is not None]
    return [(ours, OURS, -HEIGHT / 2), (theirs, PEER, HEIGHT / 2)] if theirs else [(ours, OURS, 0.0)]


def _bar(panel: Axes, y: float, spread: Spread, color: str, text: str, bold: str = "") -> None:
    """A bar with its spread, the figure in words behind it, and in bold the ratio behind that."""
    panel.barh(y, spread.median, HEIGHT, color=color)
    span = [[spread.median - spread.low], [spread.high - spread.median]]
    panel.errorbar(spread.median, y, xerr=span, color=INK, linewidth=1, capsize=2.5, capthick=1)
    paper = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    words = panel.annotate(text, (spread.high, y), (7, 0), textcoords="offset points", va="center", fontsize=9.5, bbox=paper)
    if bold:
        panel.annotate(
            bold,
            (1, 0.5),
            (6, 0),
            xycoords=words,
            textcoords="offset points",
            va="center",
            fontsize=12.5,
            weight="bold",
            color=OURS,
            bbox=paper,
        )


def _speed(panel: Axes, cases: list[CaseResult]) -> None:
    """Bars as shares of the limit, or of Luthier's speed, so that models of every size stand on one scale; the words say the speed."""
    limited = all(case.has_limit for case in cases)
    for number, case in enumerate(cases):
        whole = [(r.limit or r.ours).tokens_per_second for r in case.rounds]
        for side, color, offset in _sides(case):
            spread = Spread.of(m.tokens_per_second / one for m, one in zip(side, whole, strict=True))
            ratio = f"{case.ratios['tokens_per_second'].median:.1f}×" if color == OURS and case.has_peer else ""
            _bar(panel, number + offset, spread, color, case.speed(side), ratio)
    if limited:
        panel.axvline(1, color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    panel.set_xlim(0, 1.05 if limited else 1.6)
    panel.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "the limit" if limited else "Luthier"])
    _finish(panel, "Speed (the limit: the step's matrix products alone)" if limited else "Speed, references and drawn answers included")


def _bars(panel: Axes, cases: list[CaseResult], value: Value, title: str, form: str, ratio: str) -> None:
    highest = 0.0
    for number, case in enumerate(cases):
        for side, color, offset in _sides(case):
            spread = Spread.of(map(value, side))
            highest = max(highest, spread.high)
            bold = f"{case.ratios[ratio].median:.2f}×" if color == OURS and case.has_peer else ""
            _bar(panel, number + offset, spread, color, form.format(spread.median), bold)
    panel.set_xlim(0, highest * 1.3)
    _finish(panel, title)


def _finish(panel: Axes, title: str) -> None:
    panel.set_title(title, loc="left", fontsize=10, color=INK)
    panel.tick_params(length=0)
    panel.xaxis.grid(True, color="#ece8e1", linewidth=0.8)
    panel.set_axisbelow(True)
    for side in ("top", "right", "bottom"):
        panel.spines[side].set_visible(False)


if __name__ == "__main__":
    draw(read(Path(sys.argv[1])), Path(sys.argv[1]))
