"""Jobs go to workers that they fit. One that fits nobody waits, says so once, and is taken when a worker comes that it fits."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.jobs.conftest import MakeJob

from luthier.jobs.fitting import fits, misfit, needed
from luthier.jobs.leases import Leases
from luthier.jobs.queue import NO_WORKER, Asked, Queue
from luthier.jobs.tuning_needs import needs_of
from luthier.jobs.worker import Worker
from luthier.store.database import Database

GIB = 2**30
SMALL: dict[str, Any] = {"kind": ["check", "train"], "memory_bytes": 2 * GIB, "devices": 1, "method": ["sft"], "sandbox": False}
LARGE: dict[str, Any] = {**SMALL, "memory_bytes": 64 * GIB, "devices": 8, "sandbox": True}
CANNOT = "No worker that is here can run this job: "

StartWorker = Callable[..., "subprocess.Popen[bytes]"]


@pytest.mark.parametrize(
    "needs, said",
    [
        ({"memory_bytes": 40 * GIB}, "it needs 40.0 GiB of memory, and the largest has 2.0 GiB. It waits until one comes that can. Start"),
        ({"devices": 4}, "it needs 4 devices, and the largest has 1."),
        (
            {"method": "ppo"},
            "it needs the method `ppo`, which none of them knows. It waits until one comes that can. Update Luthier there.",
        ),
        ({"sandbox": True}, "its Python grader runs only in a sandbox, and none of them can make one."),
        ({"memory_bytes": 3 * GIB, "devices": 2}, "it needs 3.0 GiB of memory, and the largest has 2.0 GiB; it needs 2 devices"),
    ],
)
def test_what_is_lacking_is_told_with_what_there_is(needs: dict[str, Any], said: str):
    why = misfit(needs, [SMALL, {"kind": ["check"]}])
    assert why is not None and why.startswith(CANNOT + said)
    assert misfit(needs, [SMALL, {**LARGE, "method": ["ppo"]}]) is None
    assert misfit(needs, []) is None, "where nobody is, nobody can say what is too little"


def test_two_that_have_half_each_are_none_that_has_all():
    halves = [{"memory_bytes": 9, "devices": 1}, {"memory_bytes": 1, "devices": 9}]
    assert "each lacks something else" in (misfit({"memory_bytes": 5, "devices": 5}, halves) or "")


def test_files_are_looked_at_by_any_worker():
    needs = {"kind": "train", "memory_bytes": 64 * GIB}
    assert fits(needed("validating_files", needs), SMALL) and not fits(needed("queued", needs), SMALL)


def test_what_is_known_of_a_tuning_at_once(tmp_path: Path):
    (tmp_path / "model.safetensors").write_bytes(bytes(1000))
    grader = {"type": "multi", "graders": {"a": {"type": "string_check"}, "b": {"type": "python", "source": ""}}}
    reinforced = {"type": "reinforcement", "reinforcement": {"grader": grader}}
    assert needs_of(str(tmp_path), reinforced, None) == {"method": "grpo", "sandbox": True, "memory_bytes": 1000}
    assert needs_of("/nowhere", {"type": "supervised", "supervised": {}}, {"method": {"name": "kto"}}) == {"method": "kto"}


def test_a_jobs_memory_is_not_given_twice(queue: Queue, database: Database, a_check: MakeJob):
    """2 GiB: one job of 1.5 and one of 0.4 beside it, not a second one of 1.5."""
    for size in (1.5, 1.5, 0.4):
        asked = a_check(validated=True)
        asked.needs["memory_bytes"] = int(size * GIB)  # type: ignore[index]
        queue.submit(asked)
    worker = Worker(database, SMALL, slots=3)
    try:
        worker._take()
        assert [running.job.needs["memory_bytes"] / GIB for running in worker.running] == pytest.approx([1.5, 0.4])
    finally:
        for running in worker.running:
            running.work.kill()


def test_many_that_fit_nobody_are_in_nobodys_way(queue: Queue, database: Database, a_check: MakeJob):
    for _ in range(120):
        queue.submit(Asked("serve", "n", "/f", needs={"kind": "serve"}, priority=1, validated=True))
    last = queue.submit(a_check(validated=True))
    job = Leases(database).claim("w", SMALL)
    assert job is not None and job.id == last.id


@pytest.fixture
def start_worker(database: Database) -> Iterator[StartWorker]:
    """Starts a worker in a process of its own, on this database."""
    started: list[subprocess.Popen[bytes]] = []

    def start(offers: dict[str, Any], lease_s: float = 3.0) -> "subprocess.Popen[bytes]":
        program = (
            "from luthier.jobs.worker import Worker; from luthier.store.database import Database;"
            f"Worker(Database({database.url.render_as_string(hide_password=False)!r}), {offers!r}, lease_s={lease_s}).run()"
        )
        started.append(subprocess.Popen([sys.executable, "-c", program], env={**os.environ}))
        return started[-1]

    yield start
    for process in started:
        process.terminate()
        process.wait(30)


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.05)


def test_a_job_too_large_waits_says_so_and_is_taken_when_a_worker_comes(
    queue: Queue, a_check: MakeJob, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
):
    asked = a_check(validated=True)
    asked.needs["memory_bytes"] = 40 * GIB  # type: ignore[index]
    job = queue.submit(asked)
    assert queue.waiting([job]) == {job.id: NO_WORKER}
    start_worker(SMALL)
    wait_for(lambda: any(event.message.startswith(CANNOT) for event in queue.events(job.id)))
    assert queue.get(job.id).status == "queued"
    assert "the largest has 2.0 GiB" in queue.waiting([job])[job.id]
    start_worker(LARGE)
    wait_for(lambda: queue.get(job.id).status == "succeeded")
    assert sum(event.message.startswith(CANNOT) for event in queue.events(job.id)) == 1, "said once, not every few seconds"
    assert queue.waiting([queue.get(job.id)]) == {}
