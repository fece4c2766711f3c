"""What lies in run folders, told without torch: a line each, one in full, two side by side."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from luthier.engine.folder import RunFolder, read_lines
from luthier.errors import RunError, UserError
from luthier.spec.load import load_run
from luthier.spec.paths import shown
from luthier.spec.run import DataSource, RunSpec

Curve = list[tuple[float, float]]
"""(step, value), by step."""


@dataclass(frozen=True, eq=False)
class Sight:
    """A run as it can be seen from outside, finished or not."""

    path: Path

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.path)

    @cached_property
    def spec(self) -> RunSpec:
        return load_run(str(self.folder.run_file))

    @cached_property
    def record(self) -> dict[str, Any] | None:
        """None while there is none: the run is going on, or was killed."""
        return self.folder.read_record() if self.folder.record_file.is_file() else None

    @cached_property
    def lines(self) -> list[dict[str, Any]]:
        return read_lines(self.folder.metrics_file)

    @cached_property
    def status(self) -> str:
        """As recorded; `training` while a process holds the folder, `interrupted` where one left without a record."""
        if self.folder.is_locked:
            return "training"
        return "interrupted" if self.record is None else str(self.record["status"])

    @property
    def steps(self) -> int:
        return int(max((line["step"] for line in self.lines), default=0))

    @property
    def seconds(self) -> float:
        """Of the whole run where it is recorded, else of its steps so far."""
        return float(self.record["seconds"]) if self.record else sum(line["seconds"] for line in self.lines if line["kind"] == "train")

    @property
    def data(self) -> str:
        """Names of the training files."""
        return ", ".join(Path(source.path).name for source in self.spec.data.train)

    def curve(self, kind: str, metric: str = "loss") -> Curve:
        """A metric of `train` or `validation` lines."""
        return [(line["step"], line[metric]) for line in self.lines if line["kind"] == kind and metric in line]

    def ends(self, metric: str = "loss") -> tuple[float, float] | None:
        """A metric before and after: of the validation, else of the first and last training steps."""
        curve = self.curve("validation", metric) or self.curve("train", metric)
        return (curve[0][1], curve[-1][1]) if curve else None

    def summary(self) -> dict[str, Any]:
        """One line of the list, as plain values."""
        ends = self.ends()
        return {
            "name": self.path.name,
            "path": str(self.path),
            "status": self.status,
            "method": shown(self.spec.method.name),
            "adapter": shown(self.spec.adapter.name),
            "model": shown(self.spec.model.path),
            "data": self.data,
            "steps": self.steps,
            "loss_before": ends[0] if ends else None,
            "loss_after": ends[1] if ends else None,
            "loss_of": "validation" if self.curve("validation") else "train",
            "seconds": self.seconds,
        }


def list_runs(root: Path) -> tuple[list[Sight], list[str]]:
    """The runs in a folder, oldest first, and a sentence for each that cannot be read.

    Raises:
        RunError: no such folder.
    """
    if not root.is_dir():
        raise RunError(f"There is no folder {root}. Runs go into `runs` under the folder they are started in; name another one.")
    readable, faults = [], []
    for path in sorted(file.parent for file in root.glob("*/run.yaml")):
        try:
            sight = Sight(path)
            sight.summary()
            readable.append(sight)
        except (UserError, KeyError) as error:
            faults.append(f"{path} cannot be read: {error}")
    return sorted(readable, key=lambda sight: sight.folder.run_file.stat().st_mtime), faults


def look(path: Path) -> Sight:
    """One run.

    Raises:
        RunError: no run there. SettingsError: a run file that does not load.
    """
    sight = Sight(path)
    if not sight.folder.is_run:
        raise RunError(f"{path} holds no run (there is no run.yaml). `luthier runs` lists those there are.")
    return sight


def settings(spec: RunSpec) -> dict[str, Any]:
    """Every setting by dotted key. Where the run lies is none."""
    return dict(_flat(spec.model_dump(mode="json", exclude={"out"}), ""))


def chosen(spec: RunSpec) -> dict[str, Any]:
    """The settings that are not at their defaults."""
    default = settings(RunSpec())
    for part in ("train", "validation"):
        for number in range(len(getattr(spec.data, part))):
            default |= {f"data.{part}[{number}].{name}": field.default for name, field in DataSource.model_fields.items()}
    return {key: value for key, value in settings(spec).items() if key not in default or default[key] != value}


def different(a: RunSpec, b: RunSpec) -> dict[str, tuple[Any, Any]]:
    """Settings in which two runs differ; None where one has no such setting."""
    mine, theirs = settings(a), settings(b)
    keys = dict.fromkeys([*mine, *theirs])
    return {key: (mine.get(key), theirs.get(key)) for key in keys if mine.get(key) != theirs.get(key)}


def results(sight: Sight) -> dict[str, Any]:
    """What came out, under the names that people are shown; only what there is."""
    found: dict[str, Any] = {"steps": sight.steps}
    for metric in _metrics(sight, "validation"):
        before, after = sight.ends(metric) or (None, None)
        found[f"validation {metric.replace('_', ' ')}"] = (before, after)
    if train := sight.curve("train"):
        found["training loss"] = (train[0][1], train[-1][1])
    record = sight.record
    if record:
        found["best step"] = record["evaluation"]["best_step"]
        found["tokens"] = record["tokens"]
        found["parameters that learn"] = record["model"]["num_trainable"]
        found["time (s)"] = record["seconds"]
        found["peak memory (GiB)"] = record["peak_memory_bytes"] / 2**30
        found["energy, estimated (Wh)"] = record["energy_wh_estimated"]
    return {name: value for name, value in found.items() if value is not None}


def _metrics(sight: Sight, kind: str) -> list[str]:
    """Names of what lines of a kind hold, without those of single data sets."""
    return list(
        dict.fromkeys(key for line in sight.lines if line["kind"] == kind for key in line if key not in ("step", "kind") and "/" not in key)
    )


def _flat(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _flat(item, f"{key}.{name}" if key else name)
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        for number, item in enumerate(value):
            yield from _flat(item, f"{key}[{number}]")
    else:
        yield key, value
