"""Jobs, four workers, a gateway, killed with -9 at random again and again: each job ends once, nothing acknowledged is missing."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import openai
import pytest
from tests.contract.conftest import Served, chat, serve

from luthier.jobs import request as jobs_request
from luthier.jobs.queue import Asked, Queue
from luthier.jobs.transitions import ENDED
from luthier.store.home import Home

CHECKS, TRAININGS = (190, 10) if os.environ.get("LUTHIER_TEST_ALL") else (36, 4)
"""All 200 take ten minutes and more on 2 cores: `LUTHIER_TEST_ALL=1`."""
WORKERS = 4
LEASE_S = 4.0
KILLED_EVERY_S = 4.0
LONGEST_S = 900.0
ROWS = "".join(json.dumps(chat(f"Question {i}", f"Answer {i}")) + "\n" for i in range(10)).encode()


class Chaos(threading.Thread):
    """Four workers and a gateway; every few seconds one of them is killed, and another one takes its place."""

    def __init__(self, home: Path, environment: dict[str, str], seed: int) -> None:
        super().__init__()
        self.home, self.environment, self.random = home, environment, random.Random(seed)
        self.leaving, self.kills = threading.Event(), Counter[str]()
        self.gateway = self._gateway()
        self.workers = [self._worker() for _ in range(WORKERS)]

    def run(self) -> None:
        while not self.leaving.wait(KILLED_EVERY_S):
            place = self.random.randrange(WORKERS + 1)
            if place == WORKERS:
                self.kills["gateway"] += 1
                self.gateway.stop(signal.SIGKILL)
                self.gateway = self._gateway()
            else:
                self.kills["worker"] += 1
                self.workers[place].kill()
                self.workers[place].wait()
                self.workers[place] = self._worker()

    def end(self) -> None:
        self.leaving.set()
        self.join()
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.wait(60)
        self.gateway.stop()

    def _gateway(self) -> Served:
        return serve(self.home, "--no-worker", **self.environment)

    def _worker(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "luthier.cli", "worker", "--lease", str(LEASE_S)]
        env = {**os.environ, **self.environment, "LUTHIER_HOME": str(self.home), "OMP_NUM_THREADS": "1"}
        with self.home.with_name("workers.log").open("a") as log:
            return subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_nothing_is_lost_whoever_is_killed(kind: str, tmp_path: Path, request: pytest.FixtureRequest):
    environment: dict[str, str] = {}
    if kind == "postgresql":
        from sqlalchemy import create_engine, text

        server = request.getfixturevalue("postgres")
        engine = create_engine(f"{server}/postgres".replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text("CREATE DATABASE lost"))
        engine.dispose()
        environment["LUTHIER_DATABASE"] = f"{server}/lost"
    folder = tmp_path / "home"
    folder.mkdir()
    home = Home(str(folder), environment.get("LUTHIER_DATABASE"))
    chaos = Chaos(folder, environment, seed=0)
    try:
        checks = submitted(home, tmp_path)
        chaos.start()
        files, trainings = created(chaos)
        wait_for_all(Queue(home.database), [*checks, *trainings])
    finally:
        chaos.end()
    queue = Queue(home.database)
    for job in [*checks, *trainings]:
        found, told = queue.get(job), Counter(event.message for event in queue.events(job))
        assert found.status == "succeeded", f"{job}: {found.error}"
        assert told["The job has successfully completed"] == 1
        assert not {message: number for message, number in told.items() if message.startswith("Step ") and number > 1}
    again = serve(folder, "--no-worker", **environment)
    try:
        client = again.client()
        for job in trainings:
            done = client.fine_tuning.jobs.retrieve(job)
            steps = [event for event in client.fine_tuning.jobs.list_events(job, limit=100) if event.message.startswith("Step ")]
            assert len(steps) == 10 and client.models.retrieve(done.fine_tuned_model).id == done.fine_tuned_model
            assert len(client.files.content(done.result_files[0]).text.splitlines()) == 11
        assert all(client.files.content(file).content == ROWS for file in files)
    finally:
        again.stop()
    home.database.close()
    assert chaos.kills["worker"] >= 3, "too little was killed to show anything"
    print(f"{kind}: killed {dict(chaos.kills)}")


def submitted(home: Home, tmp_path: Path) -> list[str]:
    """Checks of a small file, in the queue."""
    rows, queue = tmp_path / "rows.jsonl", Queue(home.database)
    rows.write_bytes(ROWS)
    found = []
    for number in range(CHECKS):
        folder = home.jobs / f"check-{number}"
        jobs_request.write(folder, "check", files=[str(rows)])
        found.append(queue.submit(Asked("check", "rows", str(folder), needs={"kind": "check"})).id)
    return found


def created(chaos: Chaos) -> tuple[list[str], list[str]]:
    """Files and trainings that the gateway acknowledged, however often it was killed meanwhile."""
    files: list[str] = []
    trainings: list[str] = []
    began = time.monotonic()
    while len(trainings) < TRAININGS:
        assert time.monotonic() - began < LONGEST_S
        try:
            client = chaos.gateway.client(timeout=20.0)
            if len(files) == len(trainings):
                files.append(client.files.create(file=("t.jsonl", ROWS), purpose="fine-tune").id)
            job = client.fine_tuning.jobs.create(
                model="starter", training_file=files[-1], hyperparameters={"n_epochs": 1}, extra_body={"luthier": {"train.threads": 1}}
            )
            trainings.append(job.id)
        except openai.APIConnectionError:
            time.sleep(0.2)  # it is being killed: ask the next one
        time.sleep(0.5)
    return files, trainings


def wait_for_all(queue: Queue, jobs: list[str]) -> None:
    began, open_jobs = time.monotonic(), list(jobs)
    while open_jobs:
        assert time.monotonic() - began < LONGEST_S, f"{len(open_jobs)} jobs have not ended: {[queue.get(j).status for j in open_jobs[:9]]}"
        open_jobs = [job for job in open_jobs if queue.get(job).status not in ENDED]
        time.sleep(0.5)
