"""Comparisons over HTTP: what is refused, what is told, and what a worker makes of them."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.gateway import key_for

from luthier.api.platform import Platform
from luthier.jobs.comparison_follower import ComparisonFollower
from luthier.jobs.process import LOG, Outcome, Work
from luthier.jobs.tunings import Wanted
from luthier.jobs.worker import Worker
from luthier.spec.comparisons import NewComparison
from luthier.store.models import Model
from luthier.store.tables import comparison_examples

LIKES = {"type": "string_check", "name": "likes", "input": "{{sample.output_text}}", "reference": "Hello", "operation": "eq"}
SHARE = {"value": 0.75, "low": 0.55, "high": 0.9}
FOUND = {
    "pairs": 3,
    **dict.fromkeys(("wins", "ties", "losses", "win_rate"), SHARE),
    "better": "a",
    "lengths": {"win_rate": SHARE, "effect": 0.1, "longer_preferred": None, "means": [3.0, 4.0]},
    "order": None,
    "same": 1,
    "unfinished": [0, 2],
}


def asked(**more: Any) -> dict[str, Any]:
    return {"a": "starter", "b": "starter", "prompts": ["Hi", [{"role": "user", "content": "Hi?"}]], "judge": LIKES, **more}


def refusal(client: TestClient, **more: Any) -> str:
    answer = client.post("/api/comparisons", json=asked(**more))
    assert answer.status_code == 400, answer.text
    return str(answer.json()["error"]["message"])


def tuned(platform: Platform, base: str, weights: dict[str, str] | None = None, method: str = "sft", project: str = "default") -> str:
    """A model that a job made, by its name."""
    start = Model(base, platform.models.find(base, project).base, 0.0)
    job, _ = platform.tunings.create(Wanted(project, start, base, {"type": "supervised", "supervised": {}}, "file-x", seed=1))
    platform.queue.cancel(job.id)
    made = Model("", start.base, 0.0, kind="adapter", lineage={"method": method})
    return platform.tunings.keep(job, 1, {}, weights or {}, made, last=True)


def test_what_cannot_be_compared_is_refused_at_once(client: TestClient, platform: Platform):
    assert "The model 'nobodys' does not exist" in refusal(client, b="nobodys")
    assert "No such File object: file-x" in refusal(client, prompts="file-x")
    theirs = platform.files.create("proj_other", "p.jsonl", "user_data", [b"{}\n"]).id
    assert f"No such File object: {theirs}" in refusal(client, prompts=theirs)
    assert "`judge.type` is missing" in refusal(client, judge={"name": "x"})
    assert '`judge.type` is "own"' in refusal(client, judge={"type": "own", "path": "./mine.py:score"})
    assert "starter is no reward model" in refusal(client, judge="starter")
    assert "The model './mine.py:score' does not exist" in refusal(client, judge="./mine.py:score")
    asks = {"type": "score_model", "name": "s", "model": "/etc", "input": [{"role": "user", "content": "{{sample.output_text}}"}]}
    assert "The model '/etc' does not exist" in refusal(client, judge=asks)
    assert "scores answers, and writes none" in refusal(client, a=tuned(platform, "starter", method="reward_model"))
    assert "maximum of 2000" in refusal(client, max_prompts=2001)
    assert "Upload them as a file" in refusal(client, prompts=["x" * 90_000] * 3)
    assert client.get("/api/comparisons").json()["data"] == []


def test_a_comparison_is_told_listed_and_cancelled(client: TestClient, platform: Platform):
    platform.models.set_alias("mine", "starter")
    made = client.post("/api/comparisons", json=asked(b="mine", seed=3)).json()
    assert (made["status"], made["a"], made["b"], made["prompts"]) == ("validating_files", "starter", "starter", None)
    assert made["result"] is None and made["seed"] == 3 and made["judge"] == LIKES
    assert client.get(f"/api/comparisons/{made['id']}").json() == made
    other = client.post("/api/comparisons", json=asked()).json()
    first = client.get("/api/comparisons", params={"limit": 1}).json()
    assert [one["id"] for one in first["data"]] == [other["id"]] and first["has_more"]
    rest = client.get("/api/comparisons", params={"after": other["id"]}).json()
    assert [one["id"] for one in rest["data"]] == [made["id"]] and not rest["has_more"]
    assert client.get(f"/api/comparisons/{made['id']}/examples").json() == {"object": "list", "data": [], "has_more": False}
    assert client.post(f"/api/comparisons/{made['id']}/cancel").json()["status"] == "cancelled"
    again = client.post(f"/api/comparisons/{made['id']}/cancel")
    assert again.status_code == 400 and again.json()["error"]["code"] == "invalid_job_status"
    assert [one["id"] for one in client.get("/api/comparisons", params={"status": "cancelled"}).json()["data"]] == [made["id"]]
    tuning = platform.tunings.newest("default", 1)
    assert tuning == [] and client.get("/api/runs").json()["data"] == [], "it is neither a fine-tuning job nor a run"


def test_the_result_and_its_examples_are_kept_once(client: TestClient, platform: Platform):
    number = client.post("/api/comparisons", json=asked()).json()["id"]
    answers = [{"side": side, "text": side, "finished": True, "score": None} for side in ("b", "a")]
    body = {"prompt": [{"role": "user", "content": "Hi"}], "answers": answers, "better": "a", "agreed": None}
    for _ in range(2):
        platform.comparisons.keep(platform.queue.get(number), FOUND, [body] * 3)
    assert client.get(f"/api/comparisons/{number}").json()["result"] == FOUND
    page = client.get(f"/api/comparisons/{number}/examples", params={"after_number": 1, "limit": 1}).json()
    assert page == {"object": "list", "data": [{"object": "comparison.example", "number": 2, **body}], "has_more": True}
    with platform.database.read() as connection:
        assert len(connection.execute(comparison_examples.select()).all()) == 3


def test_who_only_asks_models_or_judges_compares_nothing(client: TestClient, platform: Platform):
    for role in ("inference", "rater", "auditor"):
        headers = {"authorization": f"Bearer {key_for(platform, role=role)}"}
        assert client.post("/api/comparisons", json=asked(), headers=headers).status_code == 403


def test_it_counts_among_the_projects_open_jobs(client: TestClient, platform: Platform):
    platform.accounts.projects.change("default", {"max_open_jobs": 1})
    assert client.post("/api/comparisons", json=asked()).status_code == 200
    answer = client.post("/api/comparisons", json=asked())
    assert answer.status_code == 429 and answer.json()["error"]["code"] == "quota_exceeded"


def test_the_process_is_given_folders_and_the_file_as_it_was(platform: Platform):
    """The file that is asked stays until the job has ended, although it was deleted."""
    rows = b'{"prompt": "Hi"}\n'
    file = platform.files.create("default", "asked.v2.jsonl", "user_data", [rows])
    weights = {"adapter_config.json": platform.blobs.put([b"{}"]).sha256}
    name = tuned(platform, "starter", weights)
    starter, other = platform.models.find("starter", "default"), platform.models.find(name, "default")
    wanted = NewComparison(a="starter", b=name, prompts=file.id, judge=LIKES)
    made = platform.comparisons.create("default", wanted, starter, other)
    platform.files.delete("default", file.id)
    platform.files.sweep()
    folder = ComparisonFollower(platform.comparisons, platform.tunings).begun(made.job, validate=True)
    contest = json.loads((folder / "job.json").read_text())["contest"]
    assert (folder / contest["prompts"]).read_bytes() == rows and contest["prompts"] == "prompts.v2.jsonl"
    assert contest["a"]["model"] == contest["b"]["model"] == starter.base and contest["a"]["adapter"] is None
    assert (Path(contest["b"]["adapter"]) / "adapter_config.json").is_file()
    assert contest["judge"] == {"name": "grader", "grader": LIKES}


@pytest.mark.slow
def test_a_worker_compares(client: TestClient, platform: Platform, toy_folder: Path, toy_run: Path):
    """A base against itself under another name: ties. Against what was tuned from it: each answer is its model's own, and is judged."""
    platform.models.add_base(str(toy_folder), "toy")
    platform.models.set_alias("same", "toy")
    weights = {file.name: platform.blobs.put_file(file).sha256 for file in (toy_run / "adapter").iterdir()}
    mine = tuned(platform, "toy", weights)
    few = {"max_tokens": 12, "prompts": [f"Question {i}?" for i in range(6)]}
    similar = {"type": "text_similarity", "name": "s", "input": "{{sample.output_text}}", "reference": "yes"}
    similar["evaluation_metric"] = "fuzzy_match"
    bodies = [
        asked(a="toy", b="same", **few),
        asked(a=mine, b="toy", **few | {"judge": similar}),
        asked(a="toy", b="toy", **few | {"prompts": platform.files.create("default", "x.jsonl", "user_data", [b'{"a": 1}\n']).id}),
    ]
    numbers = [client.post("/api/comparisons", json=body).json()["id"] for body in bodies]
    offers = {"kind": ["compare"], "memory_bytes": 2**34}
    follower = ComparisonFollower(platform.comparisons, platform.tunings)
    Worker(platform.database, offers, followers={"compare": follower}).run(until_idle=True)
    same, other, faulty = (client.get(f"/api/comparisons/{number}").json() for number in numbers)
    assert same["status"] == "succeeded", same
    assert same["result"]["ties"]["value"] == 1 and same["result"]["same"] == 6 and same["result"]["better"] is None
    assert other["status"] == "succeeded", other
    result = other["result"]
    assert result["pairs"] == 6 and sum(result[name]["value"] for name in ("wins", "ties", "losses")) == pytest.approx(1)
    told = client.get(f"/api/comparisons/{numbers[1]}/examples").json()["data"]
    assert {answer["side"] for one in told for answer in one["answers"][:1]} == {"a", "b"}, "sides are drawn by lot"
    for one in told:
        by_side = {answer["side"]: answer for answer in one["answers"]}
        scores = by_side["a"]["score"], by_side["b"]["score"]
        better = None if by_side["a"]["text"] == by_side["b"]["text"] or scores[0] == scores[1] else "a" if scores[0] > scores[1] else "b"
        assert one["better"] == better
    assert any(one["answers"][0]["text"] != one["answers"][1]["text"] for one in told), "the adapter makes a difference"
    assert (
        faulty["status"] == "failed"
        and faulty["reason"].startswith("prompts.jsonl:1: ")
        and str(platform.home.folder) not in faulty["reason"]
    )


@pytest.mark.slow
def test_a_worker_that_leaves_loses_no_answer(platform: Platform, toy_folder: Path):
    """The process is asked to leave in the middle; another one goes on, and what was drawn stays as it was."""
    toy = platform.models.add_base(str(toy_folder), "toy")
    wanted = NewComparison(a="toy", b="toy", prompts=[f"Question {i}?" for i in range(100)], judge=LIKES, max_tokens=30, temperature=1)
    made = platform.comparisons.create("default", wanted, toy, toy)
    folder = ComparisonFollower(platform.comparisons, platform.tunings).begun(made.job, validate=False)
    first, drawn = Work(folder, validate=False), folder / "a.jsonl"
    until = time.monotonic() + 60
    while not drawn.is_file() or not drawn.stat().st_size:
        assert first.outcome() is None and time.monotonic() < until, (folder / LOG).read_text()
        time.sleep(0.02)
    first.stop()
    assert outcome_of(first).status == "paused"
    kept = drawn.read_bytes()
    assert outcome_of(Work(folder, validate=False)).status == "succeeded", (folder / LOG).read_text()
    whole = kept[: kept.rfind(b"\n") + 1]
    assert drawn.read_bytes().startswith(whole) and len(drawn.read_bytes().splitlines()) == 100
    assert json.loads((folder / "comparison.json").read_text())["found"]["same"] == 100


def outcome_of(work: Work) -> Outcome:
    work.process.wait(120)
    found = work.outcome()
    assert found is not None
    return found
