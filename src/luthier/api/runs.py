"""Runs: the trainings of the project, with the facts of their records, their figures, and their files by name."""

from typing import Annotated, Any, get_args

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from luthier.api.auth import Caller, may
from luthier.api.errors import ApiError
from luthier.api.files import disposition
from luthier.api.pages import After, listed
from luthier.api.places import named_alone, places, without
from luthier.api.platform import Here, Platform
from luthier.jobs.runs import Found, RunOnDisk
from luthier.spec.runs import (
    Certificate,
    Run,
    RunDetails,
    RunEvent,
    RunEvents,
    RunFile,
    RunFileName,
    RunKind,
    RunMetrics,
    RunStatus,
)
from luthier.spec.wire import Page

router = APIRouter(prefix="/runs", tags=["Runs"])

Reads = Annotated[Caller, Depends(may("runs.read"))]

FILES: tuple[RunFileName, ...] = get_args(RunFileName)
LARGEST = 2**31 - 1


@router.get("")
def list_runs(
    caller: Reads,
    here: Here,
    status: RunStatus | None = None,
    kind: RunKind | None = None,
    model: Annotated[str | None, Query(description="Those that start from this model.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: After = None,
) -> Page[Run]:
    """The newest first."""
    found = here.runs.newest(caller.project, limit + 1, after, status, kind, model)
    return listed([Run(**_facts(one, here.runs.read(one, _hidden(here, one)))) for one in found], limit)


@router.get("/{job}")
def retrieve(job: str, caller: Reads, here: Here) -> RunDetails:
    """A run with its settings, its record and the names of its files."""
    found, run = _found(here, job, caller)
    files = [RunFile(name=name, bytes=size) for name in FILES if (size := run.size(name)) is not None]
    return RunDetails(**_facts(found, run), settings=run.settings, record=_finite(run.record), files=files)


@router.get("/{job}/metrics")
def metrics(
    job: str,
    caller: Reads,
    here: Here,
    kind: Annotated[str | None, Query(description="train, validation, glance or lot. Default: all.")] = None,
    name: Annotated[list[str] | None, Query(description="Only these figures; may be given several times.", max_length=100)] = None,
    after_step: Annotated[int, Query(ge=0, le=LARGEST, description="Only what was measured after this step.")] = 0,
    points: Annotated[int, Query(ge=1, le=10_000, description="Thin out to so many steps of each kind.")] = 1000,
) -> RunMetrics:
    """Its figures as columns, for a chart: while it runs, too."""
    _, run = _found(here, job, caller)
    last, series = run.figures(kind, name or (), after_step, points)
    return RunMetrics(run=job, last_step=last, series=series)


@router.get("/{job}/events")
def events(
    job: str,
    caller: Reads,
    here: Here,
    after_number: Annotated[int, Query(ge=0, le=LARGEST, description="Only what happened after the event with this number.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> RunEvents:
    """What happened in it, the oldest first: its plan, certificates, checkpoints, alarms."""
    _, run = _found(here, job, caller)
    told = [_event(number, line) for number, line in enumerate(run.events(), start=1)][after_number:]
    return RunEvents(data=told[:limit], has_more=len(told) > limit)


@router.get("/{job}/files/{name}", response_class=Response)
def file(job: str, name: RunFileName, caller: Reads, here: Here) -> Response:
    """One of the files of its folder, as it is now. Places on the server are left out of it."""
    _, run = _found(here, job, caller)
    text = run.text(name)
    if text is None:
        raise ApiError(404, f"Run {job} has no {name} yet, or it lies on another machine.", "name", "file_not_found")
    headers = {"content-disposition": disposition(name), "x-content-type-options": "nosniff"}
    return Response(text, media_type="text/plain; charset=utf-8", headers=headers)


def _found(here: Platform, job: str, caller: Caller) -> tuple[Found, RunOnDisk]:
    found = here.runs.get(caller.project, job)
    if found is None:
        raise ApiError(404, f"There is no run {job}.", "run", "run_not_found")
    return found, here.runs.read(found, _hidden(here, found))


def _hidden(here: Platform, found: Found) -> dict[str, str]:
    """Places on the server, and what stands for them; of a run that was submitted there, those that its settings name, too."""
    hidden = places(here, found.job.project)
    return {**named_alone(here.runs.read(found, hidden).settings), **hidden} if found.model is None else hidden


def _facts(found: Found, run: RunOnDisk) -> dict[str, Any]:
    """What a list tells of a run."""
    job, record, settings = found.job, _finite(run.record) or {}, run.settings or {}
    evaluation = record.get("evaluation") or {}
    return {
        "id": job.id,
        "kind": job.kind,
        "name": job.name,
        "status": job.status,
        "created_at": int(job.created_at),
        "started_at": _seconds(job.started_at),
        "finished_at": _seconds(job.finished_at),
        "model": found.model or (settings.get("model") or {}).get("path"),
        "method": (settings.get("method") or {}).get("name"),
        "adapter": (settings.get("adapter") or {}).get("name"),
        "seed": (settings.get("train") or {}).get("seed"),
        "fine_tuned_model": found.tuned,
        "steps": record["steps"] if "steps" in record else run.figures("train", ["step"], 0, 1)[0] or None,
        "total_steps": run.total_steps,
        "tokens": record.get("tokens"),
        "seconds": record.get("seconds"),
        "energy_wh": record.get("energy_wh_measured", record.get("energy_wh_estimated")),
        "peak_memory_bytes": record.get("peak_memory_bytes"),
        "certificate": _certificate(record),
        "best_loss": evaluation.get("best_loss"),
        "reason": record.get("reason") or record.get("alarm") or (without(job.error, run.hide) if job.error else None),
        "parents": record.get("parent") or [],
    }


def _certificate(record: dict[str, Any]) -> Certificate | None:
    """What its checks say together."""
    checks = record.get("certificate")
    if not isinstance(checks, list) or not checks:
        return None
    found = [one["fp32"] for one in checks if isinstance(one.get("fp32"), int | float)]
    passed = all(bool(one.get("passed", True)) for one in checks)
    return Certificate(passed=passed, checks=len(checks), largest=max(found, default=None), tolerance=record.get("certificate_tolerance"))


def _event(number: int, line: Any) -> RunEvent:
    known = ("time", "kind", "message")
    details = {name: _finite(value) for name, value in line.items() if name not in known}
    return RunEvent(number=number, at=line["time"], kind=line["kind"], message=line["message"], details=details)


def _finite(value: Any) -> Any:
    """The same, with null for the numbers that JSON does not have."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list) else value


def _seconds(at: float | None) -> int | None:
    return int(at) if at is not None else None
