"""A clock that is set by an hour, or a machine that slept: no lease is lost by it, and whoever is really gone is still found out."""

import time
from collections.abc import Callable

import pytest
from sqlalchemy import event

from luthier.jobs.clock import Watch
from luthier.jobs.leases import Leases
from luthier.jobs.queue import Asked, Queue
from luthier.jobs.records import Job, LeaseLost
from luthier.store.database import Database

HOUR = 3600.0
OFFERS = {"kind": ["check"]}

Set = Callable[[float], None]


@pytest.fixture
def set_clock(database: Database, monkeypatch: pytest.MonkeyPatch) -> Set:
    """Sets the clock of this machine, so many seconds from the right time: SQLite's, too, which has no other. A server has its own."""
    by, right = [0.0], time.time
    monkeypatch.setattr(time, "time", lambda: right() + by[0])

    def julian(connection: object, _: object) -> None:
        connection.create_function("julianday", 1, lambda _: (right() + by[0]) / 86400 + 2440587.5)  # type: ignore[attr-defined]

    if database.is_sqlite:
        event.listen(database.engine, "connect", julian)
        database.engine.dispose()  # connections that were opened before

    def set_it(seconds: float) -> None:
        by[0] = seconds

    return set_it


def taken(queue: Queue, leases: Leases) -> Job:
    queue.submit(Asked("check", "n", "/f", needs={"kind": "check"}, validated=True))
    job = leases.claim("holder", OFFERS)
    assert job is not None
    return job


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_lease_that_is_renewed_outlives_a_clock_that_is_set(queue: Queue, database: Database, set_clock: Set, jump: float):
    holder, other = Leases(database, lease_s=5), Leases(database, lease_s=5)
    job = taken(queue, holder)
    assert other.claim("other", OFFERS) is None
    set_clock(jump)
    assert other.claim("other", OFFERS) is None, "before the holder could say anything"
    assert holder.renew(job) is None
    assert other.claim("other", OFFERS) is None
    assert queue.get(job.id).losses == 0
    assert holder.end(job, "succeeded", "The job has successfully completed").status == "succeeded"


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_who_is_gone_is_found_out_although_the_clock_was_set(queue: Queue, database: Database, set_clock: Set, jump: float):
    gone, other = Leases(database, lease_s=0.5), Leases(database, lease_s=0.5)
    job = taken(queue, gone)
    assert other.claim("other", OFFERS) is None
    set_clock(jump)
    deadline = time.monotonic() + 10
    while (again := other.claim("other", OFFERS)) is None:
        assert time.monotonic() < deadline, "nobody takes it up"
        time.sleep(0.05)
    assert (again.id, again.losses) == (job.id, 1)
    with pytest.raises(LeaseLost):
        gone.renew(job)


def test_a_job_that_waits_for_another_try_does_not_wait_an_hour_more(queue: Queue, database: Database, set_clock: Set):
    """Where the database's clock is the machine's, and is set back; a server's was not."""
    leases = Leases(database)
    leases.again(taken(queue, leases), "It was killed.")
    assert leases.claim("other", OFFERS) is None, "not before its 5 seconds"
    set_clock(-HOUR)
    assert (leases.claim("other", OFFERS) is not None) is database.is_sqlite


def test_workers_that_left_long_ago_are_not_made_young(queue: Queue, database: Database, set_clock: Set):
    leases = Leases(database)
    leases.here("old", "host", 1, OFFERS)
    set_clock(-HOUR)
    assert [one["id"] for one in leases.working()] == ([] if database.is_sqlite else ["old"])


def test_a_jump_is_seen_and_a_slow_drift_is_not():
    steady = iter(range(1000))
    watch = Watch(30, lambda: float(next(steady)))
    assert watch.trusts(1000.0) and watch.trusts(1001.5) and watch.trusts(1003.0)
    assert not watch.trusts(1003.0 + HOUR)
    assert [watch.trusts(1004.0 + HOUR + second) for second in range(30)] == [False] * 29 + [True]
