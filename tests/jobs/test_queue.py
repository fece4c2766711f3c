"""The queue and its leases: each job is held by one worker at a time, whoever dies, and goes only the ways that the table allows."""

import time
from pathlib import Path

import pytest

from luthier.jobs.fitting import fits
from luthier.jobs.leases import BACKOFF_S, MOST_FAILURES, MOST_LOSSES, Leases
from luthier.jobs.queue import Asked, Queue
from luthier.jobs.records import Job, JobError, LeaseLost
from luthier.jobs.transitions import ENDED, NEXT
from luthier.store.database import Database

OFFERS = {"kind": ["check", "train"], "memory_bytes": 100}


def asked(**changed: object) -> Asked:
    return Asked(**{"kind": "check", "name": "n", "folder": "/f", "validated": True, **changed})  # type: ignore[arg-type]


@pytest.fixture
def leases(database: Database) -> Leases:
    return Leases(database)


def claimed(leases: Leases, worker: str = "w") -> Job:
    job = leases.claim(worker, OFFERS)
    assert job is not None
    return job


def test_a_job_goes_from_validating_to_succeeded(queue: Queue, leases: Leases):
    made = queue.submit(asked(validated=False))
    assert made.status == "validating_files" and made.id.startswith("ftjob-") and len(made.id) == 30
    assert leases.validated(claimed(leases)).status == "queued"
    running = claimed(leases)
    assert (running.status, running.worker) == ("running", "w")
    done = leases.end(running, "succeeded", "The job has successfully completed")
    assert (done.status, done.lease, done.worker) == ("succeeded", None, None)
    assert done.finished_at is not None and done.started_at is not None and done.created_at <= done.started_at <= done.finished_at
    assert [event.message for event in queue.events(made.id)][-1] == "The job has successfully completed"


def test_higher_priority_first_then_the_oldest(queue: Queue, leases: Leases):
    names = {queue.submit(asked(name=name, priority=priority)).id: name for name, priority in (("b", 0), ("c", 0), ("a", 5))}
    assert [names[claimed(leases).id] for _ in names] == ["a", "b", "c"]
    assert leases.claim("w", OFFERS) is None


def test_a_job_is_taken_once(queue: Queue, leases: Leases):
    for _ in range(3):
        queue.submit(asked())
    taken = [leases.claim(f"w{i}", OFFERS) for i in range(5)]
    assert len({job.id for job in taken if job}) == 3 and taken[3:] == [None, None]


@pytest.mark.parametrize(
    "needs, fit",
    [({}, True), ({"kind": "train"}, True), ({"kind": "serve"}, False), ({"memory_bytes": 100}, True), ({"memory_bytes": 101}, False)],
)
def test_a_worker_takes_what_it_can_do(queue: Queue, leases: Leases, needs: dict[str, object], fit: bool):
    queue.submit(asked(needs=needs))
    assert fits(needs, OFFERS) is fit
    assert (leases.claim("w", OFFERS) is not None) is fit


def test_a_dead_workers_job_goes_on_with_another_and_the_dead_one_is_not_heard(queue: Queue, database: Database):
    dying, living = Leases(database, lease_s=0.05), Leases(database)
    queue.submit(asked())
    lost = claimed(dying, "dying")
    assert living.claim("living", OFFERS) is None
    time.sleep(0.1)
    again = claimed(living, "living")
    assert (again.id, again.worker, again.losses) == (lost.id, "living", 1)
    with pytest.raises(LeaseLost):
        dying.renew(lost)
    with pytest.raises(LeaseLost):
        dying.end(lost, "succeeded", "late")
    assert queue.get(lost.id).status == "running"


def test_a_job_that_loses_too_many_workers_fails(queue: Queue, database: Database):
    dying = Leases(database, lease_s=0)
    number = queue.submit(asked()).id
    for _ in range(MOST_LOSSES):
        claimed(dying)
        time.sleep(0.002)
    assert dying.claim("w", OFFERS) is None
    job = queue.get(number)
    assert job.status == "failed" and "workers were lost" in (job.error or "")


def test_renewing_keeps_a_job(queue: Queue, database: Database):
    leases = Leases(database, lease_s=0.3)
    queue.submit(asked())
    job = claimed(leases)
    for _ in range(4):
        time.sleep(0.1)
        assert leases.renew(job) is None
    assert leases.claim("other", OFFERS) is None


def test_a_failure_worth_another_try_waits_and_the_last_one_fails(queue: Queue, leases: Leases, monkeypatch: pytest.MonkeyPatch):
    number = queue.submit(asked()).id
    waiting = leases.again(claimed(leases), "It was killed.")
    assert waiting.status == "queued" and waiting.not_before == pytest.approx(time.time() + BACKOFF_S, abs=2)
    assert leases.claim("w", OFFERS) is None
    monkeypatch.setattr("luthier.jobs.leases.BACKOFF_S", 0.0)
    queue.cancel(number)
    number = queue.submit(asked()).id
    for _ in range(MOST_FAILURES):
        last = leases.again(claimed(leases), "It was killed.")
    assert last.status == "failed" and last.error == "It was killed."
    assert "the last of 4 attempts" in queue.events(number)[-1].message


def test_cancelling_what_waits_is_at_once_and_what_runs_is_asked(queue: Queue, leases: Leases):
    waiting, running = queue.submit(asked()), queue.submit(asked(priority=1))
    job = claimed(leases)
    assert job.id == running.id
    assert queue.cancel(waiting.id).status == "cancelled"
    assert queue.cancel(running.id).status == "running" and leases.renew(job) == "cancelled"
    assert leases.end(job, "cancelled", "The job was cancelled").status == "cancelled"
    for number in (waiting.id, running.id):
        with pytest.raises(JobError, match="has cancelled already"):
            queue.cancel(number)


def test_what_was_wanted_of_a_job_holds_although_its_worker_died(queue: Queue, database: Database):
    dying = Leases(database, lease_s=0)
    job = queue.submit(asked())
    claimed(dying)
    queue.cancel(job.id)
    time.sleep(0.002)
    assert dying.claim("w", OFFERS) is None
    assert queue.get(job.id).status == "cancelled"


def test_a_paused_job_waits_until_it_is_resumed(queue: Queue, leases: Leases):
    number = queue.submit(asked()).id
    job = claimed(leases)
    queue.pause(number)
    assert leases.renew(job) == "paused"
    leases.end(job, "paused", "The job was paused")
    assert leases.claim("w", OFFERS) is None
    assert queue.resume(number).status == "queued"
    assert claimed(leases).id == number
    with pytest.raises(JobError, match="only a paused one is resumed"):
        queue.resume(number)


def test_a_job_waits_for_those_it_needs_and_fails_with_them(queue: Queue, leases: Leases):
    first = queue.submit(asked())
    second = queue.submit(asked(after=[first.id], priority=9))
    third = queue.submit(asked(after=[second.id]))
    job = claimed(leases)
    assert job.id == first.id and leases.claim("w", OFFERS) is None
    leases.end(job, "succeeded", "done")
    job = claimed(leases)
    assert job.id == second.id
    leases.end(job, "failed", "broken", "broken")
    ended = queue.get(third.id)
    assert (ended.status, ended.error) == ("failed", f"It waited for {second.id}, which has failed.")
    with pytest.raises(JobError, match="cannot wait for"):
        queue.submit(asked(after=[second.id]))


def test_a_job_that_is_not_there_is_told(queue: Queue):
    for ask in (queue.get, queue.cancel, queue.pause, queue.resume):
        with pytest.raises(JobError, match="There is no job ftjob-x"):
            ask("ftjob-x")


def test_every_status_can_be_reached_and_ended_ones_are_final():
    reached = {"validating_files"} | {status for following in NEXT.values() for status in following}
    assert reached == set(NEXT) and {"succeeded", "failed", "cancelled"} == ENDED


def test_jobs_are_listed_the_newest_first(queue: Queue, tmp_path: Path):
    numbers = [queue.submit(asked()).id for _ in range(3)]
    queue.cancel(numbers[0])
    assert [job.id for job in queue.newest()] == numbers[::-1]
    assert [job.id for job in queue.newest(statuses=["cancelled"])] == numbers[:1]
    assert queue.newest(project="another") == []
