"""The queue: what people ask for, kept in the database before anybody is told. Workers take from it by leases (`leases.py`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, insert, select, update

from luthier.jobs.fitting import living, misfit
from luthier.jobs.leases import LEASE_S
from luthier.jobs.records import Event, Job, JobError, end_those_waiting, ending, get, job_of, move, tell
from luthier.jobs.transitions import ENDED, OPEN, refuses
from luthier.store.database import Database, now
from luthier.store.ids import new
from luthier.store.tables import job_dependencies, job_events, jobs

NO_WORKER = "No worker is here. Start one:  luthier worker"


@dataclass(frozen=True)
class Asked:
    """A job to be made. `folder`: its own, absolute. `needs`: what a worker must offer, by name. `after`: jobs that must succeed before."""

    kind: str
    name: str
    folder: str
    project: str = "default"
    needs: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0
    after: Sequence[str] = ()
    validated: bool = False

    @property
    def called(self) -> str:
        """Its kind, as events say it."""
        return "fine-tuning" if self.kind == "tune" else self.kind


class Queue:
    """All jobs of a database whose tables are up to date."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def submit(self, asked: Asked) -> Job:
        """A new job, kept when this returns.

        Raises:
            JobError: it waits for a job that is not there, or will never succeed.
        """
        with self.database.write() as connection:
            return add(connection, asked)

    def get(self, number: str) -> Job:
        """Raises `JobError` where there is none."""
        with self.database.read() as connection:
            return get(connection, number)

    def newest(self, project: str | None = None, statuses: Sequence[str] = (), limit: int = 100) -> list[Job]:
        """Jobs, the newest first."""
        query = select(jobs).order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)
        query = query.where(jobs.c.project == project) if project else query
        query = query.where(jobs.c.status.in_(statuses)) if statuses else query
        with self.database.read() as connection:
            return [job_of(row) for row in connection.execute(query)]

    def waiting(self, asked: Sequence[Job]) -> dict[str, str]:
        """Of those that no worker can take as things are, by id: why, and what to do."""
        with self.database.read() as connection:
            offered = living(connection, LEASE_S)
        free = [job for job in asked if job.status in OPEN and job.lease is None]
        return {job.id: why for job in free if (why := misfit(job.needs, offered) if offered else NO_WORKER)}

    def events(self, number: str, after: int = 0) -> list[Event]:
        """What happened to a job since event `after`, the oldest first."""
        with self.database.read() as connection:
            rows = connection.execute(
                select(job_events).where(job_events.c.job == number, job_events.c.number > after).order_by(job_events.c.number)
            )
            return [Event(**row._mapping) for row in rows]

    def tell(self, number: str, message: str, level: str = "info") -> None:
        """Note something about a job, for good."""
        with self.database.write() as connection:
            tell(connection, number, message, level)

    def cancel(self, number: str) -> Job:
        """End a job. One that runs is told through its worker, and has ended within seconds.

        Raises:
            JobError: it has ended already.
        """
        return self._want(number, "cancelled")

    def pause(self, number: str) -> Job:
        """Let a job save its state and leave its worker; `resume` goes on from there.

        Raises:
            JobError: it has ended, or has not begun to be one that could run.
        """
        return self._want(number, "paused")

    def resume(self, number: str) -> Job:
        """Put a paused job back into the queue.

        Raises:
            JobError: it is not paused.
        """
        with self.database.write() as connection:
            job = get(connection, number, lock=True)
            if job.status != "paused":
                raise JobError(f"Job {number} is {job.status}; only a paused one is resumed.")
            move(connection, job, "queued", not_before=0.0, failures=0, losses=0)
            tell(connection, number, "Resumed: waiting for a worker")
            return get(connection, number)

    def _want(self, number: str, wanted: str) -> Job:
        with self.database.write() as connection:
            job = get(connection, number, lock=True)
            if why := refuses(job.status, wanted):
                raise JobError(f"Job {number} {why}.")
            if job.lease is not None:  # its worker looks every second or so
                connection.execute(update(jobs).where(jobs.c.id == number).values(wanted=wanted))
            else:
                move(connection, job, wanted, **ending(wanted))
                tell(connection, number, f"The job was {wanted}")
                end_those_waiting(connection, number, wanted)
            return get(connection, number)


def add(connection: Connection, asked: Asked) -> Job:
    """A new job, inside somebody's transaction.

    Raises:
        JobError: it waits for a job that is not there, or will never succeed.
    """
    number = new("ftjob-")
    for needed in asked.after:
        status = get(connection, needed).status
        if status in ENDED - {"succeeded"}:
            raise JobError(f"The job cannot wait for {needed}, which has {status}. Leave it out, or submit that one again.")
    row = {
        "id": number,
        "project": asked.project,
        "kind": asked.kind,
        "name": asked.name,
        "folder": asked.folder,
        "needs": dict(asked.needs),
        "status": "queued" if asked.validated else "validating_files",
        "priority": asked.priority,
        "created_at": now(),
        "not_before": 0.0,
        "failures": 0,
        "losses": 0,
    }
    connection.execute(insert(jobs).values(row))
    if asked.after:
        connection.execute(insert(job_dependencies), [{"job": number, "needs": needed} for needed in dict.fromkeys(asked.after)])
    tell(connection, number, f"Created {asked.called} job: {number}")
    return get(connection, number)
