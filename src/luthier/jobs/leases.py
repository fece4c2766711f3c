"""Leases: how workers hold jobs.

A worker holds a job by a word that only it knows, and a moment until which that counts. It renews the lease while it works; where it dies,
the moment passes, and another worker takes the job up. Whoever has lost a lease finds out at its next call, and must let go: nothing that
it says of the job is taken any more.
"""

import secrets
from collections.abc import Collection, Iterator, Mapping
from itertools import count
from typing import Any

from sqlalchemy import Connection, and_, case, delete, exists, insert, or_, select, update

from luthier.jobs.clock import Watch
from luthier.jobs.fitting import LOOKED_AT, fits, heard, needed, tell_of_misfits
from luthier.jobs.records import Job, LeaseLost, end_those_waiting, ending, get, job_of, move, tell
from luthier.jobs.transitions import OPEN
from luthier.store.database import Database, now
from luthier.store.tables import job_dependencies, jobs, workers

LEASE_S = 30.0
"""How long a worker may be silent before its jobs are taken up by another."""

LONGEST_LEASE_S = 600.0
"""No lease goes further: one that seems to was given before the clock was set back."""

BACKOFF_S, LONGEST_BACKOFF_S = 5.0, 600.0
"""After the first failure that is worth another try; twice as long after each further one, and at most."""

MOST_FAILURES, MOST_LOSSES = 4, 20
"""After so many failures that were worth another try, or so many workers that died with it, a job has failed."""


class Leases:
    """What workers do with the jobs of a database whose tables are up to date."""

    def __init__(self, database: Database, lease_s: float = LEASE_S) -> None:
        self.database, self.lease_s = database, lease_s
        self._watch = Watch(lease_s)

    def claim(self, worker: str, offers: Mapping[str, Any], statuses: Collection[str] = OPEN) -> Job | None:
        """The next job in one of these statuses that this worker can do: the highest priority, then the oldest. None where there is none.

        One whose worker has been silent for too long counts as queued; so does one that waited out its failure.
        """
        with self.database.write() as connection:
            if self._watch.trusts(connection.execute(select(now())).scalar_one()):
                _release_the_silent(connection)
            for job in _claimable(connection, statuses):
                if not fits(needed(job.status, job.needs), offers) or not _locked(connection, job):
                    continue
                lease = secrets.token_hex(16)
                values: dict[str, Any] = {"worker": worker, "lease": lease, "lease_until": now() + self.lease_s}
                if job.status == "queued":
                    values |= {
                        "status": "running",
                        "started_at": case((jobs.c.started_at.is_(None), now()), else_=jobs.c.started_at),
                    }
                connection.execute(update(jobs).where(jobs.c.id == job.id).values(values))
                return get(connection, job.id)
        return None

    def renew(self, job: Job) -> str | None:
        """Say that the worker still works. Returns what somebody wants of the job: `cancelled`, `paused`, or nothing.

        Raises:
            LeaseLost: it is no longer this worker's.
        """
        with self.database.write() as connection:
            self._held(connection, job)
            connection.execute(update(jobs).where(jobs.c.id == job.id).values(lease_until=now() + self.lease_s))
            return get(connection, job.id).wanted

    def validated(self, job: Job) -> Job:
        """Its files and settings are sound: it may run."""
        return self.end(job, "queued", "Files validated, moving job to queued state")

    def end(self, job: Job, status: str, message: str, error: str | None = None, needs: Mapping[str, Any] | None = None) -> Job:
        """The worker lets go: the job succeeded, failed, was cancelled or paused, or goes back into the queue.

        Args:
            needs: what was found out that it needs, besides what is known.

        Raises:
            LeaseLost: it is no longer this worker's.
        """
        with self.database.write() as connection:
            held = self._held(connection, job)
            move(connection, held, status, error=error, needs={**held.needs, **(needs or {})}, **ending(status))
            tell(connection, job.id, message, "error" if status == "failed" else "info")
            tell_of_misfits(connection, self.lease_s, job.id)
            end_those_waiting(connection, job.id, status)
            return get(connection, job.id)

    def again(self, job: Job, reason: str) -> Job:
        """It failed in a way that is worth another try: after a while it waits for its next step again; failed, after too many.

        Raises:
            LeaseLost: it is no longer this worker's.
        """
        if job.failures + 1 >= MOST_FAILURES:
            return self.end(job, "failed", f"{reason} This was the last of {MOST_FAILURES} attempts.", reason)
        wait = min(BACKOFF_S * 2**job.failures, LONGEST_BACKOFF_S)
        with self.database.write() as connection:
            held = self._held(connection, job)
            status = held.status if held.status in OPEN else "queued"  # files that were not looked at to the end are looked at again
            move(connection, held, status, **{**ending(status), "not_before": now() + wait, "failures": held.failures + 1})
            tell(connection, job.id, f"{reason} Trying again in {wait:.0f} s.", "warn")
            return get(connection, job.id)

    def _held(self, connection: Connection, job: Job) -> Job:
        found = connection.execute(select(jobs).where(jobs.c.id == job.id, jobs.c.lease == job.lease).with_for_update()).first()
        if found is None:
            raise LeaseLost
        return job_of(found)

    def here(self, worker: str, host: str, process: int, offers: Mapping[str, Any]) -> None:
        """A worker says that it is there, and what it has. Jobs that neither it nor another can run are told so."""
        with self.database.write() as connection:
            seen = connection.execute(update(workers).where(workers.c.id == worker).values(seen_at=now(), offers=dict(offers)))
            if not seen.rowcount:
                row = {"id": worker, "host": host, "process": process, "offers": dict(offers), "since": now(), "seen_at": now()}
                connection.execute(insert(workers).values(row))
            tell_of_misfits(connection, self.lease_s)

    def gone(self, worker: str) -> None:
        """A worker leaves, its jobs let go of before."""
        with self.database.write() as connection:
            connection.execute(delete(workers).where(workers.c.id == worker))

    def working(self) -> list[dict[str, Any]]:
        """Workers that were heard of within a lease's time."""
        with self.database.read() as connection:
            rows = connection.execute(select(workers).where(heard(self.lease_s)).order_by(workers.c.since))
            return [dict(row._mapping) for row in rows]


def _claimable(connection: Connection, statuses: Collection[str]) -> Iterator[Job]:
    """Open jobs whose time has come and whose dependencies have succeeded, in order, some at a time."""
    needed = jobs.alias("needed")
    waits = exists().where(
        and_(job_dependencies.c.job == jobs.c.id, needed.c.id == job_dependencies.c.needs, needed.c.status != "succeeded")
    )
    come = or_(jobs.c.not_before <= now(), jobs.c.not_before > now() + LONGEST_BACKOFF_S)  # the latter before the clock was set back
    query = select(jobs).where(jobs.c.status.in_(statuses), jobs.c.lease.is_(None), come, ~waits)
    query = query.order_by(jobs.c.priority.desc(), jobs.c.created_at, jobs.c.id).limit(LOOKED_AT)
    for start in count(0, LOOKED_AT):
        rows = connection.execute(query.offset(start)).all()
        yield from map(job_of, rows)
        if len(rows) < LOOKED_AT:
            return


def _locked(connection: Connection, job: Job) -> bool:
    """Whether the job is still to be had; on a server, no other worker takes it from now on."""
    free = select(jobs.c.id).where(jobs.c.id == job.id, jobs.c.status == job.status, jobs.c.lease.is_(None))
    return connection.execute(free.with_for_update(skip_locked=True)).first() is not None


def _release_the_silent(connection: Connection) -> None:
    """Jobs whose worker has not renewed its lease: back into the queue, where they go on; given up, after too many; or what was wanted."""
    silent = or_(jobs.c.lease_until < now(), jobs.c.lease_until > now() + LONGEST_LEASE_S)
    for row in list(connection.execute(select(jobs).where(silent).with_for_update(skip_locked=True))):
        job = job_of(row)
        status, message, level = _after_loss(job)
        move(connection, job, status, **{**ending(status), "losses": job.losses + 1, "error": message if status == "failed" else None})
        tell(connection, job.id, message, level)
        end_those_waiting(connection, job.id, status)


def _after_loss(job: Job) -> tuple[str, str, str]:
    """(status, message, level) of a job whose worker was lost."""
    if job.wanted:
        return job.wanted, f"The worker was lost. The job was {job.wanted}.", "warn"
    if job.losses + 1 >= MOST_LOSSES:
        return "failed", f"{MOST_LOSSES} workers were lost with this job.", "error"
    if job.status == "validating_files":
        return job.status, "The worker was lost. The files are validated again.", "warn"
    return "queued", "The worker was lost. The job goes on from its last checkpoint.", "warn"
