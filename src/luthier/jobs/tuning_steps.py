"""A fine-tuning job's steps, read off its run's folder while it grows: `metrics.jsonl` line by line, what is to come from `events.jsonl`.

A killed run is gone on with from its last checkpoint: lines of steps that are made again are dropped, and the file is another one.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

METRICS, EVENTS, RECORD = "metrics.jsonl", "events.jsonl", "record.json"

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """What a run said when it last began or went on, `at` a time, after `step`. `epochs_kept`: the steps whose weights stay."""

    total_steps: int
    epochs_kept: tuple[int, ...]
    step: int
    at: float


@dataclass(frozen=True)
class Step:
    """One optimizer step, and what was measured after it: `glance` on a few validation rows, `full` on all. `lot`: of answers drawn."""

    step: int
    train: Line
    glance: Line | None = None
    full: Line | None = None
    lot: Line | None = None


@dataclass(frozen=True)
class Cursor:
    """How far steps have been read: up to `step`, whose lines end at byte `offset` of the file with the inode `file`."""

    step: int = 0
    offset: int = 0
    file: int = 0


@dataclass
class _Group:
    """The lines of one step. `offset`: where they begin."""

    step: int
    offset: int
    lines: dict[str, Line] = field(default_factory=dict)

    def made(self) -> Step | None:
        """None where nothing was trained: step 0, or a lot of which every answer was left out."""
        train = self.lines.get("train")
        if train is None:
            return None
        return Step(self.step, train, self.lines.get("glance"), self.lines.get("validation"), self.lines.get("lot"))


def steps_after(run: Path, cursor: Cursor = Cursor(), ended: bool = False) -> tuple[list[Step], Cursor]:
    """The steps that are whole by now and have not been read, and how far that is.

    The newest one is held back until a line of the next stands there, or the run has `ended`, in whatever way but a kill after which it
    goes on: what is measured after that step may still come.
    """
    path = run / METRICS
    try:
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            same = stat.st_ino == cursor.file and stat.st_size >= cursor.offset
            start = file.seek(cursor.offset if same else 0)
            groups = _groups(file.read(), start)
    except FileNotFoundError:
        return [], cursor
    held = [] if ended else groups[-1:]
    whole = groups[: len(groups) - len(held)]
    found = [step for group in whole if group.step > cursor.step and (step := group.made())]
    told = max([cursor.step, *(step.step for step in found)])
    return found, Cursor(told, held[0].offset if held else start, stat.st_ino)


def _groups(data: bytes, start: int) -> list[_Group]:
    """Whole lines by their steps; a torn last line is left out."""
    groups: dict[int, _Group] = {}
    offset = start
    for line in data.split(b"\n")[:-1]:
        if line:
            fields = json.loads(line)
            group = groups.setdefault(fields["step"], _Group(fields["step"], offset))
            group.lines[fields["kind"]] = fields
        offset += len(line) + 1
    return [groups[step] for step in sorted(groups)]


def plan_of(run: Path) -> Plan | None:
    """None while the run has not begun."""
    try:
        lines = (run / EVENTS).read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return None
    said = next((event for line in reversed(lines) if line and (event := json.loads(line))["kind"] == "plan"), None)
    return None if said is None else Plan(said["total_steps"], tuple(said["epochs_kept"]), said["step"], said["time"])


def estimated_finish(run: Path, step: int, now: float) -> int | None:
    """When it will be done, in seconds since the epoch, if `step` is done `now` and it goes on as it has gone so far; None before that."""
    plan = plan_of(run)
    if plan is None or step <= plan.step or now <= plan.at:
        return None
    return round(now + (now - plan.at) / (step - plan.step) * (plan.total_steps - step))


def record_of(run: Path) -> dict[str, Any] | None:
    """What `record.json` says; None where the run has not ended."""
    try:
        record: dict[str, Any] = json.loads((run / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return record


def trained_tokens(run: Path) -> int | None:
    """Tokens that were computed in training: of each example, cut to the longest, times the epochs. None before the end."""
    record = record_of(run)
    return None if record is None else int(record["tokens"])
