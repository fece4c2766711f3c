"""`luthier jobs` and `luthier worker` as somebody types them."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from luthier.spec.load import load_run


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LUTHIER_DATABASE", raising=False)
    return tmp_path / "home"


def submitted(luthier, *arguments: object) -> dict[str, object]:
    code, out, err = luthier("jobs", "submit", *arguments, "--json")
    assert (code, err) == (0, "")
    return dict(json.loads(out))


def test_a_check_is_submitted_done_and_shown(luthier, toy_rows: Path):
    job = submitted(luthier, toy_rows)
    code, out, _ = luthier("worker", "--until-idle")
    assert code == 0 and "validating" in out and "succeeded  8 rows" in out
    code, out, _ = luthier("jobs", "show", job["id"])
    assert "succeeded" in out and "Files validated, moving job to queued state" in out and "The job has successfully completed" in out


def test_a_run_is_kept_with_every_path_absolute(luthier, toy_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(toy_rows.parent)
    job = submitted(luthier, "sft", "--model", "starter", "--data", toy_rows.name, "train.epochs=2")
    spec = load_run(str(Path(str(job["folder"])) / "request.yaml"))
    assert (spec.data.train[0].path, spec.train.epochs, spec.out) == (str(toy_rows), 2, None)
    assert (job["status"], job["name"], "lease" in job) == ("validating_files", f"sft on {toy_rows.name}", False)


def test_jobs_are_listed_paused_resumed_and_cancelled(luthier, toy_rows: Path):
    job = str(submitted(luthier, toy_rows, "--name", "mine")["id"])
    _, out, _ = luthier("jobs", "list")
    assert job in out and "validating_files" in out and "mine" in out
    code, _, err = luthier("jobs", "pause", job)
    assert code == 1 and f"Job {job} is validating_files, from where it cannot become paused." in err
    code, out, _ = luthier("jobs", "cancel", job)
    assert code == 0 and "cancelled" in out
    code, _, err = luthier("jobs", "resume", job)
    assert code == 1 and "only a paused one is resumed" in err


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["sft", "--data", "x.jsonl", "train.epoch=1"], "Did you mean `train.epochs`"),
        (["x.jsonl", "--model", "starter"], "To train on it, write:  luthier jobs submit sft --data x.jsonl"),
        (["x.jsonl", "--after", "ftjob-none"], "There is no job ftjob-none."),
        (["x.jsonl", "--database", "nonsense"], "no database's URL"),
    ],
)
def test_what_cannot_be_submitted_is_told_at_once(luthier, home: Path, arguments: list[str], said: str):
    code, _, err = luthier("jobs", "submit", *arguments)
    assert code == 1 and said in err
    _, out, _ = luthier("jobs", "list", "--json")
    assert json.loads(out) == [] and not list(home.glob("jobs/*"))


@pytest.mark.slow
def test_a_plan_decides_who_trains(luthier, toy_rows: Path):
    """The small worker looks at the files, and the plan says that they are too much for it; a larger one trains."""
    settings = ["train.max_steps=2", "train.threads=1", "evaluation.prompts=[]", "--model", "starter"]
    _, out, _ = luthier("jobs", "submit", "sft", "--data", toy_rows, *settings)
    job = out.split()[0]
    small = subprocess.Popen([sys.executable, "-m", "luthier.cli", "worker", "--memory", "0.2"])
    try:
        until = time.monotonic() + 120
        while "No worker that is here can run this job" not in luthier("jobs", "show", job)[1]:
            assert time.monotonic() < until, luthier("jobs", "show", job)[1]
            time.sleep(0.5)
        _, listed, _ = luthier("jobs", "list")
        assert re.search(r"it needs 0\.[3-9] GiB of memory, and the largest has 0\.2 GiB", listed), listed
        assert luthier("worker", "--until-idle")[0] == 0
    finally:
        small.terminate()
        small.wait(30)
    assert "The job has successfully completed" in luthier("jobs", "show", job)[1]
