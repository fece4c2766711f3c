"""A job as the database has it, and the words in which rows of it are read and changed, inside somebody's transaction."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.engine import Row

from luthier.errors import UserError
from luthier.jobs.transitions import ENDED, refuses
from luthier.store.database import now
from luthier.store.tables import job_dependencies, job_events, jobs


class JobError(UserError):
    """Something that cannot be done with a job, or a job that is not there."""


class LeaseLost(Exception):
    """Another worker has the job, or it was ended by somebody: let go of it."""


@dataclass(frozen=True)
class Job:
    """A job as the database has it. Times in seconds since the epoch, by the database's clock."""

    id: str
    project: str
    kind: str
    name: str
    folder: str
    needs: dict[str, Any]
    status: str
    priority: int
    created_at: float
    started_at: float | None
    finished_at: float | None
    not_before: float
    failures: int
    losses: int
    wanted: str | None
    worker: str | None
    lease: str | None
    lease_until: float | None
    error: str | None


@dataclass(frozen=True)
class Event:
    """What happened to a job. `level`: info, warn or error. `key`: of what can happen once only. `data`: a step's figures."""

    number: int
    job: str
    at: float
    level: str
    message: str
    key: str | None = None
    data: dict[str, Any] | None = None


def move(connection: Connection, job: Job, status: str, **values: Any) -> None:
    """To another status, along the table of transitions."""
    why = refuses(job.status, status)
    assert why is None, f"Job {job.id} {why}."
    connection.execute(update(jobs).where(jobs.c.id == job.id).values(status=status, **values))


def get(connection: Connection, number: str, lock: bool = False) -> Job:
    """A job. `lock`: nobody else changes it before this transaction ends (SQLite has one writer at a time anyway).

    Raises:
        JobError: there is none.
    """
    query = select(jobs).where(jobs.c.id == number)
    row = connection.execute(query.with_for_update() if lock else query).first()
    if row is None:
        raise JobError(f"There is no job {number}.")
    return job_of(row)


def job_of(row: Row[Any]) -> Job:
    """A job from a row that holds its columns, and perhaps those of other tables."""
    return Job(**{column.name: row._mapping[column] for column in jobs.columns})


def tell(
    connection: Connection, number: str, message: str, level: str = "info", key: str | None = None, data: dict[str, Any] | None = None
) -> None:
    """Note what happened to a job. With a `key` that was told before, nothing. Tell such of a job that you hold, or have locked."""
    before = select(job_events.c.number).where(job_events.c.job == number, job_events.c.key == key)
    if key is not None and connection.execute(before).first() is not None:
        return
    connection.execute(insert(job_events).values(job=number, at=now(), level=level, message=message, key=key, data=data))


def end_those_waiting(connection: Connection, number: str, status: str) -> None:
    """A job that did not succeed: those that wait for it never will."""
    if status not in ENDED - {"succeeded"}:
        return
    waiting = select(jobs).join(job_dependencies, job_dependencies.c.job == jobs.c.id).where(job_dependencies.c.needs == number)
    for row in list(connection.execute(waiting.where(jobs.c.status.not_in(ENDED)))):
        job = job_of(row)
        why = f"It waited for {number}, which has {status}."
        move(connection, job, "failed", error=why, **ending("failed"))
        tell(connection, job.id, why, "error")
        end_those_waiting(connection, job.id, "failed")


def ending(status: str) -> dict[str, Any]:
    """What goes with letting go of a job."""
    free: dict[str, Any] = {"worker": None, "lease": None, "lease_until": None, "wanted": None}
    return {**free, "finished_at": now()} if status in ENDED else free
