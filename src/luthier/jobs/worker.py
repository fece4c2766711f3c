"""A worker: takes jobs from the queue, runs each as a process, renews its leases, and does what people ask of the jobs meanwhile."""

import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.errors import UserError
from luthier.jobs.fitting import left
from luthier.jobs.follower import Follower
from luthier.jobs.leases import LEASE_S, Leases
from luthier.jobs.process import Outcome, Work
from luthier.jobs.records import Job, LeaseLost
from luthier.store.blobs import StorageError
from luthier.store.database import Database, DatabaseError

PASSING = (DatabaseError, StorageError)
"""What is no job's fault, and may be over at the next look."""

PERIOD_S = 0.5
"""Between two looks at the queue and at the processes."""


@dataclass
class Running:
    """A job and its process. `stopping`: it was asked to leave."""

    job: Job
    work: Work
    stopping: bool = False


class Worker:
    """One worker. `offers`: what it has, as `needs` of jobs name it. `slots`: jobs at a time. `say`: told what happens.

    `followers`: by kind of job, who tells what happens in one.
    """

    def __init__(
        self,
        database: Database,
        offers: Mapping[str, Any],
        slots: int = 1,
        lease_s: float = LEASE_S,
        say: Callable[[str], None] = lambda _: None,
        followers: Mapping[str, Follower] | None = None,
    ) -> None:
        self.leases, self.offers, self.slots, self.say = Leases(database, lease_s), dict(offers), slots, say
        self.id = f"worker-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.followers = dict(followers or {})
        self.running: list[Running] = []
        self.leaving = threading.Event()
        self.seen = -float("inf")

    def run(self, until_idle: bool = False) -> None:
        """Work until told to leave (SIGTERM, SIGINT: running jobs save their state and go back into the queue).

        Args:
            until_idle: leave when there is nothing to do.
        """
        with _listening(self.leaving):
            try:
                while True:
                    done = self._round()
                    if not self.running and (self.leaving.is_set() or (until_idle and not done)):
                        break
                    self.leaving.wait(0 if done else PERIOD_S) if not self.leaving.is_set() else time.sleep(PERIOD_S)
            finally:
                for running in self.running:
                    running.work.kill()
        self.leases.gone(self.id)

    def _round(self) -> bool:
        """One look at everything. Returns whether anything was taken or ended."""
        try:
            self._appear()
            taken = self._take() if not self.leaving.is_set() else 0
            ended = 0
            for running in list(self.running):
                if self._look(running):
                    self.running.remove(running)
                    ended += 1
        except PASSING as error:  # the processes go on; a lease that runs out meanwhile is found out
            self.say(f"{error} Trying again.")
            time.sleep(PERIOD_S)
            return False
        return bool(taken or ended)

    def _appear(self) -> None:
        if time.monotonic() - self.seen > self.leases.lease_s / 3:
            self.leases.here(self.id, socket.gethostname(), os.getpid(), self.offers)
            self.seen = time.monotonic()

    def _take(self) -> int:
        """Fill the free places. Returns how many jobs were taken."""
        taken = 0
        while (job := self._claimed()) is not None:
            validate = job.status == "validating_files"
            self.say(f"{job.id}  {'validating' if validate else 'running'}  {job.name}")
            taken += 1
            try:
                follower = self.followers.get(job.kind)
                folder = follower.begun(job, validate) if follower else Path(job.folder)
                self.running.append(Running(job, Work(folder, validate)))
            except (StorageError, OSError) as error:  # a full disk, a store that does not answer: not the job's fault
                self.say(f"{job.id}  {error}")
                self.leases.again(job, "Its files could not be brought to its worker.")
            except DatabaseError:
                raise
            except UserError as error:
                self._give_up(job, str(error))
        return taken

    def _claimed(self) -> Job | None:
        """The next job, where there is a place for it. Files are looked at beside what runs, one job's at a time: nobody waits for that."""
        validating = sum(running.job.status == "validating_files" for running in self.running)
        places = {"queued": self.slots - (len(self.running) - validating), "validating_files": 1 - validating}
        statuses = {status for status, free in places.items() if free > 0}
        return self.leases.claim(self.id, left(self.offers, (running.job for running in self.running)), statuses) if statuses else None

    def _give_up(self, job: Job, why: str) -> None:
        """A job that cannot be begun or told of here."""
        self._end(job, "failed", why, Outcome("failed", why))
        self.say(f"{job.id}  failed  {why}")

    def _end(self, job: Job, status: str, message: str, outcome: Outcome) -> None:
        """Let go of a job, and whoever follows its kind first stores what it left. What validation found that it needs is kept with it."""
        if follower := self.followers.get(job.kind):
            try:
                follower.ended(job, status, outcome)
            except PASSING:
                raise
            except UserError as error:
                if status == "failed":
                    raise
                status, message = "failed", str(error)
        self.leases.end(job, status, message, message if status == "failed" else None, outcome.details.get("needs"))

    def _look(self, running: Running) -> bool:
        """Whether the job was let go of."""
        try:
            outcome = running.work.outcome()
            if outcome is not None:
                self._ended(running, outcome)
                return True
            wanted = self.leases.renew(running.job)
            if follower := self.followers.get(running.job.kind):
                follower.going_on(running.job)
        except LeaseLost:
            running.work.kill()
            self.say(f"{running.job.id}  is another worker's by now; let go")
            return True
        except PASSING:
            raise
        except UserError as error:
            running.work.kill()
            self._give_up(running.job, str(error))
            return True
        if wanted == "cancelled":
            running.work.kill()
            self.leases.end(running.job, "cancelled", "The job was cancelled")
            self.say(f"{running.job.id}  cancelled")
            return True
        if (wanted == "paused" or self.leaving.is_set()) and not running.stopping:
            running.stopping = True
            running.work.stop()
        return False

    def _ended(self, running: Running, outcome: Outcome) -> None:
        job = running.job
        self.say(f"{job.id}  {outcome.status}  {outcome.message}")
        match outcome.status:
            case "valid":
                self._end(job, "queued", "Files validated, moving job to queued state", outcome)
            case "succeeded":
                self._end(job, "succeeded", "The job has successfully completed", outcome)
            case "paused" if self.leases.renew(job) == "paused":
                self._end(job, "paused", "The job was paused", outcome)
            case "paused":
                self._end(job, "queued", "The worker leaves; the job goes on with another one", outcome)
            case _ if self.leaving.is_set() and outcome.again:
                self._end(job, "queued", "The worker leaves; the job goes on with another one", outcome)
            case _ if outcome.again:
                self.leases.again(job, outcome.message)
            case _:
                self._end(job, "failed", outcome.message, outcome)


@contextmanager
def _listening(leaving: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGINT ask to leave; only in the main thread can they be heard."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: leaving.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
