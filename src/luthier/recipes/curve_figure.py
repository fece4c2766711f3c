"""A learning curve as a picture: what was measured, the curve through it, and the forecasts with their intervals."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEASURED, CURVE, TFIDF = "#1f5f99", "#9ab3cc", "#b08a3c"
NAMES = {"error_rate": "accuracy on held-out rows", "loss": "loss on held-out rows"}


def draw(found: dict[str, Any], folder: Path) -> list[Path]:
    """`curve.png` and `curve.svg` in the folder; returns where they lie."""
    from matplotlib import pyplot, rc_context

    fits = found["fits"]
    with rc_context({"svg.hashsalt": "luthier"}):
        figure, axes = pyplot.subplots(1, len(fits), figsize=(5.4 * len(fits), 3.8), layout="constrained", squeeze=False)
        for axis, name in zip(axes[0], sorted(fits), strict=True):
            _axis(axis, found, name)
        files = [folder / f"curve.{ending}" for ending in ("png", "svg")]
        for file in files:
            figure.savefig(file, dpi=130, metadata={"Date": None} if file.suffix == ".svg" else None)
        pyplot.close(figure)
    return files


def _axis(axis: "Axes", found: dict[str, Any], name: str) -> None:
    share = name == "error_rate"
    rows = [point["rows"] for point in found["points"]]
    fit = found["fits"][name]
    sizes = np.geomspace(rows[0], fit["forecasts"][-1]["rows"], 200)
    axis.plot(sizes, [shown(value_at(fit, size), share) for size in sizes], color=CURVE, label="power law")
    axis.plot(rows, measured(found, name), "o", color=MEASURED, label="measured")
    if share:
        axis.plot(
            rows, [point["accuracy_tfidf"] for point in found["points"]], "s", color=TFIDF, markersize=4, label="TF-IDF, the same rows"
        )
    for number, forecast in enumerate(fit["forecasts"]):
        middle, low, high = (shown(forecast[key], share) for key in ("value", "low", "high"))
        spread = [[middle - min(low, high)], [max(low, high) - middle]]
        axis.errorbar(
            [forecast["rows"]],
            [middle],
            yerr=spread,
            fmt="D",
            color=MEASURED,
            mfc="white",
            capsize=4,
            label=None if number else "forecast, 95 %",
        )
    axis.set_xscale("log")
    axis.set_xticks(
        [*rows, *(f["rows"] for f in fit["forecasts"])], labels=[f"{n:,}" for n in (*rows, *(f["rows"] for f in fit["forecasts"]))]
    )
    axis.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    axis.tick_params(axis="x", labelsize=8, rotation=30)
    axis.set_xlabel("training rows")
    axis.set_title(NAMES[name], loc="left", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    axis.legend(frameon=False, fontsize=8)


def measured(found: dict[str, Any], name: str) -> list[float]:
    """The points as they are shown: accuracies for error rates."""
    return [point["accuracy"] if name == "error_rate" else point["loss"] for point in found["points"]]


def value_at(fit: dict[str, Any], size: float) -> float:
    """y(n) = floor + scale · n^(-decay)."""
    return float(fit["floor"] + fit["scale"] * size ** (-fit["decay"]))


def shown(value: float, share: bool) -> float:
    """An error rate as an accuracy."""
    return 1 - value if share else value
