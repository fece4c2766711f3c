"""A worker with real processes: jobs done, cancelled, paused, and killed under its hands."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from tests.jobs.conftest import MakeJob

from luthier.jobs import request
from luthier.jobs.process import Outcome, Work, die_with
from luthier.jobs.queue import Asked, Queue
from luthier.jobs.records import Job, JobError
from luthier.jobs.worker import Running, Worker
from luthier.store.blobs import StorageError
from luthier.store.database import Database, DatabaseError

OFFERS = {"kind": ["check", "train"], "method": ["sft"], "memory_bytes": 2**34}


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.05)


def test_checks_are_done_and_leave_their_report(queue: Queue, database: Database, a_check: MakeJob):
    good, missing = queue.submit(a_check()), queue.submit(a_check("/no/such/file.jsonl"))
    said: list[str] = []
    Worker(database, OFFERS, slots=2, say=said.append).run(until_idle=True)
    assert queue.get(good.id).status == "succeeded"
    assert json.loads((Path(good.folder) / "report.json").read_text())["report"]["rows"] == 8
    failed = queue.get(missing.id)
    assert (failed.status, failed.error) == ("failed", "There is no file /no/such/file.jsonl.")
    assert any("8 rows" in text for text in said)


def test_a_killed_process_is_tried_again(queue: Queue, database: Database, a_check: MakeJob, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("luthier.jobs.leases.BACKOFF_S", 0.0)
    job = queue.submit(a_check())
    worker = Worker(database, OFFERS)
    thread = threading.Thread(target=worker.run, kwargs={"until_idle": True})
    thread.start()
    wait_for(lambda: worker.running)
    worker.running[0].work.process.kill()
    thread.join(120)
    assert queue.get(job.id).status == "succeeded" and queue.get(job.id).failures == 1
    assert any("was killed by SIGKILL without a word" in event.message for event in queue.events(job.id))


def test_cancelling_ends_the_process_and_all_that_it_started(queue: Queue, database: Database, tmp_path: Path):
    asked = Asked("check", "slow", str(tmp_path / "job"), validated=True)
    request.write(Path(asked.folder), "check", files=["x"])
    job, worker = queue.submit(asked), Worker(database, OFFERS)
    worker.leases.claim(worker.id, OFFERS)
    process = subprocess.Popen(["bash", "-c", "sleep 1000 & sleep 1000 & wait"], start_new_session=True)
    work = Work.__new__(Work)
    work.folder, work.process = Path(asked.folder), process
    wait_for(lambda: len(psutil.Process(process.pid).children()) == 2)
    started = [process.pid, *(child.pid for child in psutil.Process(process.pid).children())]
    work.kill()
    wait_for(lambda: not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in started))
    assert queue.cancel(job.id).wanted == "cancelled"


def test_a_jobs_process_dies_with_its_worker(tmp_path: Path):
    """A worker that is killed has no time to tell."""
    child = (
        "import os, time; from luthier.jobs.process import die_with;"
        "die_with(os.getppid()); print(os.getpid(), flush=True); time.sleep(1000)"
    )
    parent = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(1000)"
    worker = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    pid = int(worker.stdout.readline())
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    worker.stdout.close()
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, 10)


def test_a_process_whose_worker_is_gone_already_does_not_begin():
    codes: list[int] = []
    die_with(parent=-1, exit_now=codes.append)
    assert codes == [1]


def test_an_outcome_is_read_as_it_was_written(tmp_path: Path):
    Outcome("paused", "3 steps").write(tmp_path)
    assert Outcome(**json.loads((tmp_path / "outcome.json").read_text())) == Outcome("paused", "3 steps")
    assert [path.name for path in tmp_path.iterdir()] == ["outcome.json"]


def test_a_folder_without_a_job_is_told(tmp_path: Path):
    with pytest.raises(request.RequestError, match="holds no job that can be read"):
        request.read(tmp_path)
    (tmp_path / "job.json").write_text('{"kind": "paint", "files": []}')
    with pytest.raises(request.RequestError, match="asks for paint"):
        request.read(tmp_path)


@pytest.mark.slow
def test_a_training_is_paused_resumed_and_succeeds(queue: Queue, database: Database, tmp_path: Path, toy_folder: Path, toy_rows: Path):
    small = "method: sft\ntrain: {epochs: 400, batch_size: 8, dtype: float32, threads: 1}\nevaluation: {prompts: []}\n"
    settings = f"model: {toy_folder}\ndata: {toy_rows}\n{small}"
    request.write(tmp_path / "job", "train", run_file=settings)
    job = queue.submit(Asked("train", "toy", str(tmp_path / "job")))
    worker = Worker(database, OFFERS)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        metrics = tmp_path / "job" / "run" / "metrics.jsonl"
        wait_for(lambda: metrics.is_file() and len(metrics.read_text().splitlines()) > 3, 120)
        queue.pause(job.id)
        wait_for(lambda: queue.get(job.id).status == "paused", 60)
        queue.resume(job.id)
        wait_for(lambda: queue.get(job.id).status == "succeeded", 180)
    finally:
        worker.leaving.set()
        thread.join(60)
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines() if json.loads(line)["kind"] == "train"]
    assert steps == list(range(1, 401)), "no step twice, none left out"


@pytest.mark.slow
def test_each_job_ends_once_although_workers_are_killed(queue: Queue, database: Database, a_check: MakeJob, tmp_path: Path):
    """12 checks, two workers at a time, one of them killed with -9 every second or so."""
    numbers = [queue.submit(a_check()).id for _ in range(12)]
    program = (
        "import sys; from luthier.jobs.worker import Worker; from luthier.store.database import Database;"
        f"Worker(Database({str(database.url)!r}), {OFFERS!r}, lease_s=3).run()"
    )
    workers: list[subprocess.Popen[bytes]] = []
    try:
        until = time.monotonic() + 240
        while any(queue.get(number).status != "succeeded" for number in numbers):
            assert time.monotonic() < until, [queue.get(number).status for number in numbers]
            workers = [worker for worker in workers if worker.poll() is None]
            while len(workers) < 2:
                workers.append(subprocess.Popen([sys.executable, "-c", program], env={**os.environ}))
            time.sleep(5)
            workers[0].kill()
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    for number in numbers:
        ended = [event for event in queue.events(number) if event.message == "The job has successfully completed"]
        assert len(ended) == 1


def test_files_are_looked_at_beside_what_runs_one_at_a_time(queue: Queue, database: Database, a_check: MakeJob):
    asked = [queue.submit(a_check(validated=number < 2)) for number in range(5)]
    worker = Worker(database, OFFERS, slots=1)
    try:
        worker._take()
        held = [running.job for running in worker.running]
        assert sorted(job.status for job in held) == ["running", "validating_files"]
        assert {job.id for job in held} == {asked[0].id, asked[2].id}
    finally:
        for running in worker.running:
            running.work.kill()


class Faulty:
    """A follower that fails as it is told."""

    def __init__(self, **faults: Exception) -> None:
        self.faults = faults

    def _fail(self, name: str) -> None:
        if error := self.faults.pop(name, None):
            raise error

    def begun(self, job: Job, validate: bool) -> Path:
        self._fail("begun")
        return Path(job.folder)

    def going_on(self, job: Job) -> None:
        self._fail("going_on")

    def ended(self, job: Job, status: str, outcome: Outcome) -> None:
        self._fail("ended")


@pytest.mark.parametrize("when", ["going_on", "ended"])
@pytest.mark.parametrize("error", [StorageError("the store does not answer"), DatabaseError("the database is locked")])
def test_what_passes_fails_no_job(queue: Queue, database: Database, a_check: MakeJob, when: str, error: Exception):
    number = queue.submit(a_check()).id
    Worker(database, OFFERS, followers={"check": Faulty(**{when: error})}).run(until_idle=True)
    assert queue.get(number).status == "succeeded"


def test_a_store_that_does_not_answer_is_waited_for(queue: Queue, database: Database, a_check: MakeJob):
    number = queue.submit(a_check()).id
    Worker(database, OFFERS, followers={"check": Faulty(begun=OSError(28, "No space left on device"))}).run(until_idle=True)
    job = queue.get(number)
    assert (job.status, job.failures) == ("validating_files", 1)
    assert any("could not be brought to its worker. Trying again in" in event.message for event in queue.events(number))


def test_a_job_that_cannot_go_on_fails_and_its_process_ends(queue: Queue, database: Database, a_check: MakeJob):
    worker = Worker(database, OFFERS, followers={"check": Faulty(going_on=JobError("What it goes on from is gone."))})
    job = queue.submit(a_check())
    held = worker.leases.claim(worker.id, OFFERS)
    assert held is not None
    work = Work.__new__(Work)
    work.folder, work.process = Path(job.folder), subprocess.Popen(["sleep", "1000"], start_new_session=True)
    assert worker._look(Running(held, work))
    assert (queue.get(job.id).status, queue.get(job.id).error) == ("failed", "What it goes on from is gone.")
    assert work.process.poll() == -signal.SIGKILL


def test_a_folder_that_was_not_made_to_its_end_is_made_again(tmp_path: Path):
    folder = tmp_path / "job"
    folder.mkdir()
    request.write(folder, "check", files=["a.jsonl"])
    assert request.read(folder).files == ("a.jsonl",)
    with pytest.raises(FileExistsError):
        request.write(folder, "check")
