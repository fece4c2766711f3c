"""`--processes` and torchrun as somebody types them: one is killed, all are paused, and the run goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from luthier.cli.main import run
from luthier.errors import SettingsError
from luthier.recipes.run import Run

pytestmark = pytest.mark.timeout(600)
LUTHIER = [sys.executable, "-m", "luthier.cli"]
TRAIN = [
    "train",
    "sft",
    "adapter=full",
    "train.dtype=float32",
    "train.epochs=60",
    "train.batch_size=4",
    "evaluation.prompts=[]",
    "checkpoints.every=5",
]


def started(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=file)


def lines(folder: Path) -> list[int]:
    """Steps that were made so far."""
    return [line["step"] for line in Run(folder).metrics if line["kind"] == "train"] if (folder / "metrics.jsonl").is_file() else []


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 240
    while not happened():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def members(process: subprocess.Popen[bytes]) -> dict[str, psutil.Process]:
    return {child.environ()["RANK"]: child for child in psutil.Process(process.pid).children() if "RANK" in child.environ()}


@pytest.mark.slow
def test_killed_paused_and_gone_on_with(toy_folder: Path, toy_rows: Path, tmp_path: Path):
    """120 steps: killed after some, paused after some more, ended under torchrun. Each step was made once, and nothing listened."""
    folder, log = tmp_path / "run", tmp_path / "log"
    train = [*LUTHIER, *TRAIN, "--model", str(toy_folder), "--data", str(toy_rows), "--out", str(folder), "--processes", "2"]
    process = started(train, log)
    wait_until(lambda: len(lines(folder)) >= 12, process, log)
    team = members(process)
    listening = [c.laddr.ip for member in team.values() for c in member.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert set(listening) <= {"127.0.0.1", "::1"}
    team["1"].kill()
    assert process.wait(timeout=20) == 1
    assert "Process 2 of 2 was killed by SIGKILL, and the others with it." in log.read_text()
    assert not any(member.is_running() and member.status() != psutil.STATUS_ZOMBIE for member in team.values())

    before = len(lines(folder))
    process = started([*LUTHIER, "resume", str(folder), "--processes", "2"], log)
    wait_until(lambda: len(lines(folder)) > before + 3, process, log)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0, log.read_text()
    assert Run(folder).record["status"] == "paused"
    assert f"Paused. Go on with:  luthier resume {folder}" in log.read_text().replace("\n", "")

    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "luthier.cli"]
    process = started([*torchrun, "resume", str(folder), "--json"], log)
    assert process.wait(timeout=240) == 0, log.read_text()
    record = Run(folder).record
    assert (record["status"], record["steps"], record["bit_exact"]) == ("succeeded", 120, True)
    assert lines(folder) == list(range(1, 121))


@pytest.mark.slow
def test_what_is_wrong_is_said_once(toy_folder: Path, toy_rows: Path, tmp_path: Path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(toy_rows.read_text(encoding="utf-8") + '{"messages": 3}\n', encoding="utf-8")
    command = [*LUTHIER, "train", "sft", "-m", str(toy_folder), "-d", str(rows), "-o", str(tmp_path / "run"), "--processes", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 1
    assert done.stderr.count(f"{rows}:9") == 1 and "Traceback" not in done.stderr and "Another process" not in done.stderr


@pytest.mark.slow
def test_a_job_of_several_processes(
    toy_folder: Path, toy_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    settings = ["train.dtype=float32", "evaluation.prompts=[]", "--model", str(toy_folder), "--data", str(toy_rows), "--processes", "2"]
    run(["jobs", "submit", "sft", *settings, "--json"])
    job = json.loads(capsys.readouterr().out)
    run(["worker", "--until-idle"])
    assert Run(Path(job["folder"]) / "run").record["processes"]["number"] == 2
    run(["jobs", "show", job["id"]])
    assert "succeeded" in capsys.readouterr().out


def test_a_command_for_one_process_is_refused_under_torchrun(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    with pytest.raises(SettingsError, match="`luthier plan` works in one process: start it without torchrun"):
        run(["plan"])


def test_processes_are_started_by_one_alone(monkeypatch: pytest.MonkeyPatch, toy_rows: Path):
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    with pytest.raises(SettingsError, match="`--processes` and torchrun would both start processes"):
        run(["train", "sft", "--data", str(toy_rows), "--processes", "2"])


def test_a_plan_says_what_processes_hold(toy_folder: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["plan", "sft", "--model", str(toy_folder), "adapter=full", "--processes", "4"]) == 0
    assert "each holds 1/4 of weights, gradients and optimizer state" in capsys.readouterr().out
    assert run(["plan", "sft", "--model", str(toy_folder), "--processes", "2"]) == 0
    assert "Each of 2 holds as much: the whole base, and the adapter" in capsys.readouterr().out
