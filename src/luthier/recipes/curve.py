"""A learning curve: the same training on growing shares of the data, held against the same rows, and what more data would bring."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from luthier.data import load as loading
from luthier.data.seeded import generator
from luthier.data.split import split_validation
from luthier.data.written import format_of, write_rows
from luthier.engine.folder import RunFolder, read_json, write_json
from luthier.engine.report import Reporter, Silent
from luthier.errors import RunError, SettingsError
from luthier.evaluate.learning_curve import FEWEST_POINTS, LearningCurve, Point, fit, noise_of_share
from luthier.recipes.evaluate import evaluate
from luthier.recipes.examination import Question
from luthier.recipes.train import resume, train
from luthier.spec.load import to_yaml
from luthier.spec.paths import anchored
from luthier.spec.rows import Labeled, Row
from luthier.spec.run import DataSource, RunSpec

SHARES = (0.1, 0.2, 0.35, 0.6, 1.0)
"""Each about as far from the next in size; together 2.25 times the training on all rows."""

HELD_OUT_SHARE = 0.1
"""Set aside where the settings name no rows to validate on."""

NOISE_OF_LOSS = 0.01
"""Standard deviation of a validation loss from one training to another, as a share of it: a first guess, which the fit corrects."""

FILE = "curve.json"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What to train on. `shares`: of the training rows, ascending. `budget_s`: no share is begun that would not end within it."""

    spec: RunSpec
    folder: Path
    shares: tuple[float, ...] = SHARES
    budget_s: float | None = None

    def __post_init__(self) -> None:
        if len(self.shares) < FEWEST_POINTS or any(not 0 < share <= 1 for share in self.shares):
            raise SettingsError(f"`--shares` needs at least {FEWEST_POINTS} numbers above 0 and at most 1, such as 0.1,0.3,1.")
        if list(self.shares) != sorted(set(self.shares)):
            raise SettingsError("`--shares` must grow from one to the next, such as 0.1,0.3,1.")


def curve(plan: Plan, say: Say = lambda _: None, reporter: Callable[[], Reporter] = Silent) -> dict[str, Any]:
    """Train on each share that is not done yet, and fit. Returns what stands in `curve.json`.

    Args:
        reporter: makes one for each training.
    Raises:
        UserError: anything wrong with settings, data or folder, or a budget that is too small for three shares.
    """
    work = _Work(plan)
    work.begin(say)
    began = time.perf_counter()
    for share in plan.shares:
        if any(point["share"] == share for point in work.points):
            continue
        if (needed := work.seconds_for(share)) and plan.budget_s and time.perf_counter() - began + needed > plan.budget_s:
            say(f"The budget does not hold share {share:g} (about {needed:.0f} s more), so the curve ends before it.")
            break
        say(f"Share {share:g}: {work.sizes[share]:,} of {work.total:,} rows")
        work.measure(share, reporter(), say)
    if len(work.points) < FEWEST_POINTS:
        raise RunError(
            f"The budget held {len(work.points)} shares; a curve needs {FEWEST_POINTS}. What was measured is kept: give more time, or "
            f"smaller `--shares`."
        )
    return work.finish()


class _Work:
    """The files, runs and points of one learning curve, in its folder."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.folder = plan, plan.folder
        self.spec = anchored(plan.spec)
        if not self.spec.data.train:
            raise SettingsError("`data.train` is empty. Give a file: `--data FILE`, or `data.train=FILE`.")
        self.points: list[dict[str, Any]] = []

    @cached_property
    def sets(self) -> tuple[list[Sequence[Row]], list[Sequence[Row]]]:
        """The rows of each training file, and of each file that is held out."""
        data, seed = self.spec.data, self.spec.train.seed
        train: list[Sequence[Row]] = [loading.read(source) for source in data.train]
        if data.validation:
            return train, [loading.read(source) for source in data.validation]
        splits = [split_validation(rows, data.validation_share or HELD_OUT_SHARE, seed) for rows in train]
        return [kept for kept, _ in splits], [aside for _, aside in splits]

    @property
    def total(self) -> int:
        return sum(len(rows) for rows in self.sets[0])

    @cached_property
    def sizes(self) -> dict[float, int]:
        return {share: sum(_number(share, len(rows)) for rows in self.sets[0]) for share in self.plan.shares}

    @property
    def classifies(self) -> bool:
        """All rows are texts with a label, so accuracy can be measured, too."""
        return all(isinstance(row, Labeled) for part in self.sets for rows in part for row in rows)

    @property
    def held_out(self) -> list[Path]:
        number = 1 if self.classifies else len(self.sets[1])
        return [self.folder / ("held-out.jsonl" if number == 1 else f"held-out-{i}.jsonl") for i in range(number)]

    def begin(self, say: Say) -> None:
        """Make the folder, or find in it what the same request measured before."""
        request = {"spec": to_yaml(self.spec.model_copy(update={"out": None})), "held_out_rows": sum(len(rows) for rows in self.sets[1])}
        file = self.folder / "request.json"
        if file.is_file():
            if read_json(file) != request:
                raise RunError(f"{self.folder} holds the curve of other settings. Choose another folder with `--out`.")
            self.points = read_json(self.folder / FILE)["points"] if (self.folder / FILE).is_file() else []
            if self.points:
                say(f"{len(self.points)} shares are measured already")
            return
        if self.folder.exists() and any(self.folder.iterdir()):
            raise RunError(f"{self.folder} is not empty and holds no learning curve. Choose another folder with `--out`.")
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.spec.data.validation and not self.spec.data.validation_share:
            say(f"No rows to validate on are named: {HELD_OUT_SHARE * 100:g} % of the training rows are set aside by seed.")
        parts = [[row for rows in self.sets[1] for row in rows]] if self.classifies else self.sets[1]
        for path, rows in zip(self.held_out, parts, strict=True):
            write_rows(path, rows)
        write_json(file, request)

    def measure(self, share: float, reporter: Reporter, say: Say) -> None:
        """Train on a share, or go on with it, and add its point."""
        began = time.perf_counter()
        folder = RunFolder(self.folder / f"share-{share:g}")
        if folder.is_run:
            run = resume(folder.path, reporter)
        else:
            run = train(self._share_spec(share, folder.path), reporter)
        record = run.record
        if record["status"] != "succeeded":
            raise RunError(f"{folder.path} is {record['status']}. Go on with the same command.")
        after = record["evaluation"]["after"]
        found = {
            "share": share,
            "rows": self.sizes[share],
            "loss": after["loss"],
            "steps": record["steps"],
            "tokens": record["tokens"],
            "run": str(folder.path.relative_to(self.folder)),
        }
        if self.classifies:
            table = evaluate(Question(str(folder.path), (DataSource(path=str(self.held_out[0]), format="labels"),)), say)
            tuned, tfidf = table["columns"][0], table["columns"][1]
            found |= {"accuracy": tuned["scores"]["accuracy"], "accuracy_tfidf": tfidf["scores"]["accuracy"]}
        self.points = sorted([*self.points, {**found, "seconds": round(time.perf_counter() - began, 1)}], key=lambda p: p["share"])
        write_json(self.folder / FILE, {"points": self.points})

    def _share_spec(self, share: float, out: Path) -> RunSpec:
        """The run's settings with this share of each file, and the rows held out for all shares."""
        spec, train = self.spec, []
        for number, (source, rows) in enumerate(zip(spec.data.train, self.sets[0], strict=True)):
            path = self.folder / f"train-{share:g}{f'-{number}' if len(self.sets[0]) > 1 else ''}.jsonl"
            name = write_rows(path, nested(rows, share, spec.train.seed))
            train.append(DataSource(path=str(path), format=name, weight=source.weight))
        held = [DataSource(path=str(path), format=name) for path, name in zip(self.held_out, self._held_formats(), strict=True)]
        data = {"train": tuple(train), "validation": tuple(held), "validation_share": 0.0}
        evaluation: dict[str, Any] = {"prompts": ()}
        if spec.evaluation.patience is None:  # before and after are enough for a curve
            steps = spec.train.epochs * math.ceil(self.sizes[share] / spec.train.batch_size)
            evaluation["every"] = min(steps, spec.train.max_steps or steps)
        changed = {
            "data": spec.data.model_copy(update=data),
            "evaluation": spec.evaluation.model_copy(update=evaluation),
            "out": str(out),
        }
        return spec.model_copy(update=changed)

    def _held_formats(self) -> list[str]:
        return ["labels"] if self.classifies else [format_of(rows) for rows in self.sets[1]]

    def seconds_for(self, share: float) -> float | None:
        """About how long a share will take: as the largest so far, by rows; None before the first."""
        if not self.points:
            return None
        last = self.points[-1]
        return float(last["seconds"]) * self.sizes[share] / float(last["rows"])

    def finish(self) -> dict[str, Any]:
        """Fit, forecast, write."""
        held = sum(len(rows) for rows in self.sets[1])
        fits = {
            "loss": _described(
                fit([Point(p["rows"], p["loss"], NOISE_OF_LOSS * p["loss"]) for p in self.points]), self._asked, float("inf")
            )
        }
        if self.classifies:
            errors = [(p["rows"], 1 - p["accuracy"]) for p in self.points]
            fits["error_rate"] = _described(fit([Point(n, e, noise_of_share(e, held)) for n, e in errors]), self._asked, 1.0)
        found = {"points": self.points, "total_rows": self.total, "held_out_rows": held, "fits": fits}
        write_json(self.folder / FILE, found)
        return found

    @property
    def _asked(self) -> list[int]:
        """The sizes to forecast: all rows, where not all were learned from, and twice as many."""
        return [*([self.total] if self.points[-1]["rows"] < self.total else []), 2 * self.total]


def _described(found: LearningCurve, sizes: Sequence[int], highest: float) -> dict[str, Any]:
    """A curve as plain values: y(n) = floor + scale · n^(-decay), and its forecasts."""
    forecasts = [found.forecast(size, highest) for size in sizes]
    return {
        "floor": found.floor,
        "scale": found.scale,
        "decay": found.decay,
        "forecasts": [{"rows": f.size, "value": f.value, "low": f.low, "high": f.high} for f in forecasts],
    }


def nested(rows: Sequence[Row], share: float, seed: int) -> list[Row]:
    """A share of the rows, drawn by seed, in their order. The rows of a smaller share are among those of a larger one."""
    drawn = generator(seed, "learning curve").permutation(len(rows))[: _number(share, len(rows))]
    return [rows[i] for i in sorted(drawn.tolist())]


def _number(share: float, rows: int) -> int:
    return max(1, round(share * rows))


def read_curve(folder: Path) -> dict[str, Any]:
    """What `curve` found.

    Raises:
        RunError: no finished curve there.
    """
    found: dict[str, Any] = read_json(folder / FILE)
    if "fits" not in found:
        raise RunError(f"{folder} holds a learning curve that is not finished. Go on with `luthier curve`.")
    return found
