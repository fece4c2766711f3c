"""`--ray` as somebody types it: the same run on a Ray cluster of this machine, killed, paused and gone on with; and on two nodes."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from luthier.cli.main import run
from luthier.errors import SettingsError
from luthier.jobs.queue import Queue
from luthier.recipes.run import Run
from luthier.store.home import Home

pytestmark = pytest.mark.timeout(600)

NEEDS_RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'luthier[ray]'")
LUTHIER = [sys.executable, "-m", "luthier.cli"]
TRAIN = ["train", "sft", "adapter=full", "train.dtype=float32", "train.batch_size=4", "evaluation.prompts=[]", "checkpoints.every=5"]


def started(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, "OMP_NUM_THREADS": "1"})


def losses(folder: Path) -> dict[int, float]:
    """By step, of those that were made so far."""
    if not (folder / "metrics.jsonl").is_file():
        return {}
    return {line["step"]: line["loss"] for line in Run(folder).metrics if line["kind"] == "train"}


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 240
    while not happened():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def members(folder: Path) -> dict[str, psutil.Process]:
    """The processes of a run by rank, whoever started them."""
    found = {}
    for process in psutil.process_iter():
        try:
            if str(folder) in process.cmdline() and "RANK" in (environment := process.environ()):
                found[environment["RANK"]] = process
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it has ended meanwhile, or is somebody else's
    return found


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@NEEDS_RAY
@pytest.mark.slow
def test_killed_paused_and_gone_on_with(toy_folder: Path, toy_rows: Path, tmp_path: Path):
    """40 steps: killed after some, paused after some more, ended. Each was made once, with the losses of one process."""
    rows = [*TRAIN, "train.epochs=20", "--model", str(toy_folder), "--data", str(toy_rows)]
    alone, folder, log = tmp_path / "alone", tmp_path / "run", tmp_path / "log"
    assert started([*LUTHIER, *rows, "--out", str(alone)], log).wait(240) == 0, log.read_text()
    on_ray = ["--processes", "2", "--ray", "local"]

    process = started([*LUTHIER, *rows, "--out", str(folder), *on_ray], log)
    wait_until(lambda: len(losses(folder)) >= 8, process, log)
    team = members(folder)
    assert sorted(team) == ["0", "1"]
    team["1"].kill()
    assert process.wait(timeout=60) == 1
    assert "Process 2 of 2 was killed by SIGKILL, and the others with it." in log.read_text()
    assert "luthier resume RUN --processes 2 --ray local" in log.read_text().replace("\n", " ").replace("  ", " ")
    assert all(map(gone, team.values()))

    before = len(losses(folder))
    process = started([*LUTHIER, "resume", str(folder), *on_ray], log)
    wait_until(lambda: len(losses(folder)) > before + 3, process, log)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0, log.read_text()
    assert Run(folder).record["status"] == "paused"

    process = started([*LUTHIER, "resume", str(folder), *on_ray], log)
    wait_until(lambda: len(members(folder)) == 2, process, log)
    assert process.wait(timeout=240) == 0, log.read_text()
    record = Run(folder).record
    assert (record["status"], record["steps"], record["processes"]["number"], record["bit_exact"]) == ("succeeded", 40, 2, True)
    assert losses(folder).keys() == losses(alone).keys() == set(range(1, 41))
    assert losses(folder) == pytest.approx(losses(alone), abs=1e-4)


@pytest.fixture
def two_nodes() -> Iterator[str]:
    """The address of a cluster of two nodes with a processor each: what two machines are to Ray."""
    program = (
        "import sys; from ray.cluster_utils import Cluster;"
        "cluster = Cluster(initialize_head=True, head_node_args={'num_cpus': 1, 'include_dashboard': False});"
        "cluster.add_node(num_cpus=1); print(cluster.address, flush=True); sys.stdin.read(); cluster.shutdown()"
    )
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdin is not None
    assert process.stdout is not None
    yield next(line.strip() for line in process.stdout if line[0].isdigit())
    process.stdin.close()
    process.wait(60)
    process.stdout.close()


@NEEDS_RAY
@pytest.mark.slow
def test_on_two_nodes_and_refused_where_there_are_fewer(toy_folder: Path, toy_rows: Path, tmp_path: Path, two_nodes: str):
    folder, alone, log = tmp_path / "run", tmp_path / "alone", tmp_path / "log"
    rows = [*TRAIN, "train.epochs=2", "--model", str(toy_folder), "--data", str(toy_rows)]
    assert started([*LUTHIER, *rows, "--out", str(alone)], log).wait(240) == 0, log.read_text()
    process = started([*LUTHIER, *rows, "--out", str(folder), "--processes", "2", "--ray", two_nodes], log)
    wait_until(lambda: len(members(folder)) == 2, process, log)
    assert {member.environ()["LUTHIER_MACHINES"] for member in members(folder).values()} == {"2"}
    assert process.wait(240) == 0, log.read_text()
    assert losses(folder) == pytest.approx(losses(alone), abs=1e-4)
    process = started([*LUTHIER, *rows, "--out", str(tmp_path / "none"), "--processes", "3", "--ray", two_nodes], log)
    assert process.wait(240) == 1
    assert f"3 processes need 3 processors, and the cluster at {two_nodes} has 2." in log.read_text().replace("\n", " ")


@NEEDS_RAY
@pytest.mark.slow
def test_a_workers_jobs_train_there(toy_folder: Path, toy_rows: Path, tmp_path: Path, two_nodes: str):
    """A job of as many devices as the cluster has, which this machine need not have; one of more waits, and says so."""
    log, home = tmp_path / "log", ["--home", str(tmp_path / "home")]
    rows = [*TRAIN[1:], "--model", str(toy_folder), "--data", str(toy_rows), *home]
    for processes in ("2", "3"):
        assert started([*LUTHIER, "jobs", "submit", *rows, "--name", processes, "--processes", processes], log).wait(60) == 0
    assert started([*LUTHIER, "worker", "--until-idle", "--ray", two_nodes, *home], log).wait(240) == 0, log.read_text()
    assert "succeeded" in log.read_text()
    assert started([*LUTHIER, "jobs", "list", *home, "--json"], log).wait(60) == 0
    waiting, done = json.loads(log.read_text())
    assert (done["status"], waiting["status"]) == ("succeeded", "queued")
    assert Run(Path(done["folder"]) / "run").record["processes"]["number"] == 2
    queue = Queue(Home(str(tmp_path / "home")).database)
    assert any("it needs 3 devices, and the largest has 2." in event.message for event in queue.events(waiting["id"]))


@NEEDS_RAY
@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_told(toy_folder: Path, toy_rows: Path, tmp_path: Path):
    log = tmp_path / "log"
    process = started([*LUTHIER, *TRAIN, "-m", str(toy_folder), "-d", str(toy_rows), "--ray", "127.0.0.1:1"], log)
    assert process.wait(240) == 1
    assert "There is no Ray cluster at 127.0.0.1:1 that can be joined" in log.read_text() and "Traceback" not in log.read_text()


def test_ray_is_not_started_under_torchrun(monkeypatch: pytest.MonkeyPatch, toy_rows: Path):
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    with pytest.raises(SettingsError, match="`--ray` and torchrun would both start processes"):
        run(["train", "sft", "--data", str(toy_rows), "--processes", "2", "--ray", "local"])
