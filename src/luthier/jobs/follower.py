"""Who tells, for one kind of job, what happens in it: from files that its process writes to rows that people read."""

from pathlib import Path
from typing import Protocol

from luthier.jobs.process import Outcome
from luthier.jobs.records import Job


class Follower(Protocol):
    """Called by a worker that holds the job. All of it may be called again after a worker was lost: what it stores, it stores once.

    A `UserError` that it raises fails the job.
    """

    def begun(self, job: Job, validate: bool) -> Path:
        """The job's process is about to start, to `validate` or to run. Returns its folder, with everything that it needs."""

    def going_on(self, job: Job) -> None:
        """Called every second or so while it works."""

    def ended(self, job: Job, status: str, outcome: Outcome) -> None:
        """Its process has ended, as `outcome` says; the job is about to become `status`."""
