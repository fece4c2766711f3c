"""Is a learning curve's forecast right? Half of Banking77 says what all of it would bring; then all of it is trained on.

    python -m benchmarks.learning_curve        about an hour on a quiet machine; goes on where it was stopped

`luthier curve` on 10, 15, 22, 33 and 50 % of the training rows forecasts the accuracy with all of them, on half of the test rows. The same
command with the share 1 then measures it.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.classification import MODELS, SHARED, banking77, luthier, without, write_rows
from benchmarks.process import CommandFailed
from benchmarks.results import FOLDER

CACHE = Path.home() / ".cache" / "luthier-benchmarks" / "learning-curve"
RESULTS = FOLDER / "learning-curve.json"
MODEL = MODELS["tinystories-656k"]
HALF = (0.1, 0.15, 0.22, 0.33, 0.5)
POINTS = 2.0
"""How far the forecast may be off, in points of accuracy."""


def measure(cache: Path, epochs: int) -> dict[str, Any]:
    """The forecast from half of the rows, and what all of them bring."""
    train = list(banking77("train"))
    rows = write_rows(cache / "train.csv", train)
    held = write_rows(cache / "held-out.csv", without(list(banking77("test")), train)[::2])
    settings = [
        f"model.chat_template={MODEL.template}",
        "adapter=full",
        f"optimizer.learning_rate={MODEL.learning_rate}",
        "optimizer.weight_decay=0.01",
        f"train.epochs={epochs}",
        "train.batch_size=16",
        "train.dtype=float32",
    ]
    asked = ["curve", "sft", "--model", SHARED / "models" / MODEL.name, "--data", rows, "--validation", held, "--json", *settings]
    asked += ["--out", cache / "curve", "--shares"]
    half = luthier(*asked, ",".join(map(str, HALF)))
    forecast = half["fits"]["error_rate"]["forecasts"][0]
    everything = luthier(*asked, ",".join(map(str, (*HALF, 1))))["points"][-1]
    predicted, found = 1 - forecast["value"], everything["accuracy"]
    return {
        "model": MODEL.name,
        "settings": settings,
        "points": half["points"],
        "fit": half["fits"]["error_rate"],
        "rows": forecast["rows"],
        "predicted": predicted,
        "predicted_low": 1 - forecast["high"],
        "predicted_high": 1 - forecast["low"],
        "measured": found,
        "points_off": 100 * (predicted - found),
        "held": abs(100 * (predicted - found)) < POINTS,
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=CACHE, help="the folder for runs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the results file")
    options = parser.parse_args(arguments)
    options.cache.mkdir(parents=True, exist_ok=True)
    found = measure(options.cache, options.epochs)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(
        f"With {found['points'][-1]['rows']:,} rows {found['points'][-1]['accuracy']:.1%}; forecast with {found['rows']:,} rows: "
        f"{found['predicted']:.1%} ({found['predicted_low']:.1%} to {found['predicted_high']:.1%}); measured: {found['measured']:.1%}, "
        f"{found['points_off']:+.1f} points off.\n{options.out}"
    )


if __name__ == "__main__":
    try:
        main()
    except CommandFailed as error:
        raise SystemExit(str(error)) from None
