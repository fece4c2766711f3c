"""Runs over HTTP: the trainings of a project, from the folder that a real one left, and from folders that are torn or elsewhere."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import insert
from starlette.testclient import TestClient

from luthier.api.platform import Platform
from luthier.jobs.queue import Asked
from luthier.jobs.tunings import Wanted
from luthier.store.tables import bases

Tuned = Callable[..., tuple[str, Path]]


@pytest.fixture
def tuned(platform: Platform) -> Tuned:
    """A fine-tuning job: its id, and where its run lies."""

    def made(project: str = "default") -> tuple[str, Path]:
        starter = platform.models.find("starter", project)
        method = {"type": "supervised", "supervised": {"hyperparameters": {}}}
        job, _ = platform.tunings.create(Wanted(project, starter, "starter", method, "file-x", seed=1))
        return job.id, Path(job.folder) / "run"

    return made


@pytest.fixture
def run(tuned: Tuned, toy_run: Path) -> str:
    """A run that has ended, of a toy."""
    number, folder = tuned()
    shutil.copytree(toy_run, folder, ignore=shutil.ignore_patterns("checkpoints"))
    return number


def test_a_run_is_told_by_its_record(client: TestClient, run: str, toy_run: Path):
    record = json.loads((toy_run / "record.json").read_text())
    found = client.get(f"/api/runs/{run}").json()
    assert found["record"] == json.loads(json.dumps(record)) and found["settings"]["method"]["name"] == found["method"] == "sft"
    assert (found["steps"], found["tokens"], found["model"], found["adapter"]) == (record["steps"], record["tokens"], "starter", "lora")
    assert found["certificate"]["passed"] and found["certificate"]["largest"] < found["certificate"]["tolerance"] == 1e-5
    assert found["certificate"]["checks"] == len(record["certificate"]) and found["status"] == "validating_files"
    assert [file["name"] for file in found["files"]][:4] == ["run.yaml", "record.json", "metrics.jsonl", "events.jsonl"]


def test_figures_are_columns_thinned_out_and_continued(client: TestClient, run: str, toy_run: Path):
    lines = [json.loads(line) for line in (toy_run / "metrics.jsonl").read_text().splitlines()]
    train = [line for line in lines if line["kind"] == "train"]
    found = client.get(f"/api/runs/{run}/metrics").json()
    assert found["series"]["train"]["loss"] == [line["loss"] for line in train] and set(found["series"]) == {line["kind"] for line in lines}
    few = client.get(f"/api/runs/{run}/metrics", params={"kind": "train", "name": ["loss"], "points": 2}).json()
    assert few["series"] == {"train": {"step": [1, len(train)], "loss": [train[0]["loss"], train[-1]["loss"]]}}
    rest = client.get(f"/api/runs/{run}/metrics", params={"kind": "train", "after_step": len(train) - 1}).json()
    assert rest["series"]["train"]["step"] == [len(train)] == [rest["last_step"]]
    assert client.get(f"/api/runs/{run}/metrics", params={"after_step": len(train)}).json()["series"] == {}


def test_events_go_on_where_one_stopped(client: TestClient, run: str, toy_run: Path):
    lines = [json.loads(line) for line in (toy_run / "events.jsonl").read_text().splitlines()]
    first = client.get(f"/api/runs/{run}/events", params={"limit": 1}).json()
    rest = client.get(f"/api/runs/{run}/events", params={"after_number": 1}).json()
    assert first["has_more"] and not rest["has_more"]
    assert [one["message"] for one in first["data"] + rest["data"]] == [line["message"] for line in lines]
    assert first["data"][0]["number"] == 1 and set(first["data"][0]["details"]) == set(lines[0]) - {"time", "kind", "message"}


def test_files_by_name_and_nothing_else(client: TestClient, run: str, platform: Platform):
    answer = client.get(f"/api/runs/{run}/files/run.yaml")
    assert answer.text.startswith("model:") and answer.headers["content-disposition"] == 'attachment; filename="run.yaml"'
    for name in ("state.json", "..%2f..%2fjob.json", "%2e%2e", "adapter%2fadapter_config.json", "record.json%00"):
        assert client.get(f"/api/runs/{run}/files/{name}").status_code in (400, 404)
    missing = client.get(f"/api/runs/{run}/files/comparison.jsonl")
    assert missing.status_code == 404 and missing.json()["error"]["code"] == "file_not_found"


def test_places_on_the_server_are_not_told(client: TestClient, tuned: Tuned, platform: Platform, tmp_path: Path):
    base = tmp_path / "secret-place"
    base.mkdir()
    with platform.database.write() as connection:
        connection.execute(insert(bases).values(name="mine", folder=str(base), created_at=1.0))
    starter, method = platform.models.find("mine", "default"), {"type": "supervised"}
    job, _ = platform.tunings.create(Wanted("default", starter, "mine", method, "file-x", seed=1))
    folder = Path(job.folder) / "run"
    folder.mkdir(parents=True)
    path = f"{platform.home.folder}/blobs/ab"
    (folder / "run.yaml").write_text(f"model:\n  path: {base}\ndata:\n  train:\n  - path: {path}\n")
    (folder / "record.json").write_text(json.dumps({"steps": 1, "data": {"train": [{"path": path}]}, "model": {"path": str(base)}}))
    found = client.get(f"/api/runs/{job.id}").json()
    assert found["settings"] == {"model": {"path": "mine"}, "data": {"train": [{"path": "blobs/ab"}]}}
    told = found["record"], client.get(f"/api/runs/{job.id}/files/run.yaml").text, client.get("/api/runs").text
    assert str(tmp_path) not in str(told)


def test_what_is_torn_or_elsewhere_is_told_as_far_as_it_goes(client: TestClient, tuned: Tuned):
    number, folder = tuned()
    nothing = client.get(f"/api/runs/{number}").json()
    assert nothing["record"] is nothing["settings"] is nothing["certificate"] is None and nothing["files"] == []
    assert client.get(f"/api/runs/{number}/metrics").json()["series"] == {}
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text(
        '{"step": 1, "kind": "train", "loss": 2.5}\n{"step": 2, "kind": "train", "loss": NaN, "kl": 1}\n{"st'
    )
    (folder / "record.json").write_text("{")
    (folder / "events.jsonl").write_text('{"time": 1.5, "kind": "plan", "message": "m", "total_steps": 9, "epochs_kept": [], "step": 0}\n')
    found = client.get(f"/api/runs/{number}").json()
    assert (found["steps"], found["total_steps"], found["record"]) == (2, 9, None)
    assert client.get(f"/api/runs/{number}/metrics").json()["series"]["train"] == {"step": [1, 2], "loss": [2.5, None], "kl": [None, 1]}


def test_lists_page_and_pick(client: TestClient, tuned: Tuned, platform: Platform):
    numbers = [tuned()[0] for _ in range(3)]
    trained = platform.queue.submit(Asked("train", "by hand", str(platform.home.jobs / "x"))).id
    platform.queue.submit(Asked("check", "a check", str(platform.home.jobs / "y")))
    platform.queue.cancel(numbers[1])
    tuned("proj_other")

    def listed(**which: str | int) -> list[str]:
        return [one["id"] for one in client.get("/api/runs", params=which).json()["data"]]

    assert listed() == [trained, *numbers[::-1]]
    assert listed(limit=2) == [trained, numbers[2]] and listed(after=numbers[2]) == [numbers[1], numbers[0]]
    assert listed(status="cancelled") == [numbers[1]] and listed(kind="train") == [trained] and listed(model="starter") == numbers[::-1]
    assert client.get("/api/runs", params={"status": "broken"}).status_code == 400
