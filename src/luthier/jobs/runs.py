"""Runs of a project: its jobs that train, and what their folders say: nothing where the folder lies on another machine."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Select, select, tuple_

from luthier.jobs.records import Job, job_of
from luthier.jobs.request import RUN
from luthier.jobs.tuning_steps import EVENTS, METRICS, RECORD, Line, plan_of
from luthier.spec import yaml_core
from luthier.store.database import Database
from luthier.store.tables import jobs, tunings

KINDS = ("tune", "train")

RUN_FILE = "run.yaml"


@dataclass(frozen=True)
class Found:
    """A job that trains. `model`, `tuned`: of a fine-tuning job, the names of what it starts from and of what it made."""

    job: Job
    model: str | None
    tuned: str | None


class Runs:
    """The runs of a database whose tables are up to date. `folder`: where jobs have theirs."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder = database, folder

    def newest(
        self,
        project: str,
        limit: int,
        after: str | None = None,
        status: str | None = None,
        kind: str | None = None,
        model: str | None = None,
    ) -> list[Found]:
        """The newest first, those made before the run `after`."""
        query = _trainings(project).order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)
        for column, value in ((jobs.c.status, status), (jobs.c.kind, kind), (tunings.c.model, model)):
            query = query.where(column == value) if value is not None else query
        with self.database.read() as connection:
            if after is not None:
                at = connection.execute(select(jobs.c.created_at).where(jobs.c.id == after, jobs.c.project == project)).scalar()
                if at is None:
                    return []
                query = query.where(tuple_(jobs.c.created_at, jobs.c.id) < tuple_(at, after))
            return [_found(row) for row in connection.execute(query)]

    def get(self, project: str, number: str) -> Found | None:
        with self.database.read() as connection:
            row = connection.execute(_trainings(project).where(jobs.c.id == number)).first()
        return _found(row) if row is not None else None

    def read(self, found: Found, hide: Mapping[str, str] | None = None) -> "RunOnDisk":
        """Its folder on this machine. `hide`: texts that stand for others in all that is read, such as places on the server."""
        return RunOnDisk(self.folder / Path(found.job.folder).name / RUN, hide or {})


@dataclass(frozen=True)
class RunOnDisk:
    """What a run's folder says. All of it is there or not: nothing is said of what is not there, or is just being written."""

    path: Path
    hide: Mapping[str, str]

    def text(self, name: str) -> str | None:
        """A file, with what is to be hidden hidden."""
        try:
            text = (self.path / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        for hidden, shown in self.hide.items():
            text = text.replace(hidden, shown)
        return text

    def size(self, name: str) -> int | None:
        """Bytes of a file on the disk."""
        try:
            return (self.path / name).stat().st_size
        except OSError:
            return None

    @property
    def record(self) -> dict[str, Any] | None:
        return _object(self.text(RECORD) or "")

    @property
    def settings(self) -> dict[str, Any] | None:
        text = self.text(RUN_FILE)
        if text is None:
            return None
        values, _ = yaml_core.parse(text, RUN_FILE)
        return values if isinstance(values, dict) else None

    @property
    def total_steps(self) -> int | None:
        plan = plan_of(self.path)
        return plan.total_steps if plan is not None else None

    def lines(self, name: str) -> Iterator[Line]:
        """The whole lines of a JSONL file; a torn last one is left out."""
        text = self.text(name)
        for line in (text or "").split("\n")[:-1]:
            if (found := _object(line)) is not None:
                yield found

    def events(self) -> list[Line]:
        return list(self.lines(EVENTS))

    def figures(
        self, kind: str | None, names: Sequence[str], after_step: int, points: int
    ) -> tuple[int, dict[str, dict[str, list[float | int | None]]]]:
        """The newest step, and columns of numbers by kind of line, thinned out evenly to so many points, first and last among them."""
        rows: dict[str, list[Line]] = {}
        last = after_step
        for line in self.lines(METRICS):
            step = line.get("step")
            if isinstance(step, int) and step > after_step and kind in (None, line.get("kind")):
                rows.setdefault(str(line.get("kind")), []).append(line)
                last = max(last, step)
        return last, {name: _columns(thinned(some, points), names) for name, some in rows.items()}


def _object(text: str) -> dict[str, Any] | None:
    """A JSON object; None for what is none, such as a file that a full disk has cut."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def thinned(rows: Sequence[Line], points: int) -> list[Line]:
    """At most so many of them, evenly spaced, with the first and the last."""
    if len(rows) <= points:
        return list(rows)
    if points == 1:
        return [rows[-1]]
    return [rows[round(i * (len(rows) - 1) / (points - 1))] for i in range(points)]


def _columns(rows: Sequence[Line], names: Sequence[str]) -> dict[str, list[float | int | None]]:
    """Of the figures that are asked for, or of all; `step` is always among them."""
    held = dict.fromkeys(name for row in rows for name, value in row.items() if _is_number(value))
    wanted = ["step", *(name for name in held if name != "step" and (not names or name in names))]
    return {name: [_number(row.get(name)) for row in rows] for name in wanted}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any) -> float | int | None:
    return value if _is_number(value) and math.isfinite(value) else None


def _trainings(project: str) -> Select[Any]:
    both = select(jobs, tunings.c.model, tunings.c.fine_tuned_model).outerjoin(tunings, tunings.c.job == jobs.c.id)
    return both.where(jobs.c.project == project, jobs.c.kind.in_(KINDS))


def _found(row: Any) -> Found:
    return Found(job_of(row), row.model, row.fine_tuned_model)
