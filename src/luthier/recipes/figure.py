"""The curves of a run as a matplotlib figure."""

from typing import TYPE_CHECKING, Any

from luthier.errors import RunError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRAINING, VALIDATION = "#9ab3cc", "#1f5f99"


def draw_run(name: str, lines: list[dict[str, Any]]) -> "Figure":
    """Loss of training and validation by step, and beside it what else validation measured, such as token accuracy.

    Args:
        lines: of `metrics.jsonl`.
    Raises:
        RunError: there are no steps yet.
    """
    from matplotlib import pyplot

    validation = [line for line in lines if line["kind"] == "validation"]
    training = [line for line in lines if line["kind"] == "train"]
    if not training:
        raise RunError(f"{name} has no steps to draw yet.")
    others = [key for key in (validation[0] if validation else {}) if key not in ("step", "kind", "loss") and "/" not in key]
    figure, axes = pyplot.subplots(1, 1 + len(others), figsize=(5.2 * (1 + len(others)), 3.4), layout="constrained", squeeze=False)
    loss, *rest = axes[0]
    loss.plot([line["step"] for line in training], [line["loss"] for line in training], color=TRAINING, linewidth=1, label="training")
    if validation:
        _curve(loss, validation, "loss", "validation")
    loss.set_title("loss", loc="left", fontsize=10)
    loss.legend(frameon=False)
    for axis, key in zip(rest, others, strict=True):
        _curve(axis, validation, key, "validation")
        axis.set_title(f"{key.replace('_', ' ')} in validation", loc="left", fontsize=10)
    for axis in axes[0]:
        axis.set_xlabel("step")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    figure.suptitle(name, x=0.01, ha="left", fontsize=10)
    pyplot.close(figure)  # it is returned, so a notebook need not draw it a second time
    return figure


def _curve(axis: Any, lines: list[dict[str, Any]], key: str, label: str) -> None:
    axis.plot([line["step"] for line in lines], [line[key] for line in lines], color=VALIDATION, marker="o", markersize=3.5, label=label)
