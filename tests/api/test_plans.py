"""Plans over HTTP: what `luthier plan` says, of what may be named over HTTP, by a process that cannot hold the gateway up."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.testclient import TestClient
from tests.gateway import key_for

from luthier.api.errors import ApiError
from luthier.api.planning import Planner
from luthier.api.platform import Platform


def refusal(client: TestClient, **asked: Any) -> str:
    answer = client.post("/api/plans", json=asked)
    assert answer.status_code == 400, answer.text
    return str(answer.json()["error"]["message"])


def upload(platform: Platform, rows: list[dict[str, Any]], project: str = "default") -> str:
    blob = platform.blobs.put([json.dumps(row).encode() + b"\n" for row in rows])
    return platform.files.add(project, "train.jsonl", "fine-tune", blob).id


def test_what_no_request_may_name_is_refused_before_anything_starts(client: TestClient, platform: Platform):
    client.app.state.planner = Planner(at_once=0)  # type: ignore[attr-defined]  (nothing can start)
    assert "The model 'nobodys' does not exist" in refusal(client, model="nobodys")
    assert "is Python, which no request may name" in refusal(client, model="starter", luthier={"method": "./mine.py"})
    assert "names a place on the server" in refusal(client, model="starter", luthier={"adapter.start": "/etc"})
    assert "cannot be set in a job" in refusal(client, model="starter", luthier={"data.train": ["/etc/passwd"]})
    assert "Did you mean `train.epochs`?" in refusal(client, model="starter", luthier={"train.epoch": 2})
    assert "A plan does not count `luthier.reward_model`" in refusal(client, model="starter", luthier={"reward_model": "ft:x"})
    assert "No such File object: file-x" in refusal(client, model="starter", training_file="file-x")
    theirs = upload(platform, [{"text": "a"}], "proj_other")
    assert f"No such File object: {theirs}" in refusal(client, model="starter", training_file=theirs)
    assert "'fit'" in refusal(client, model="starter", fit="huge")
    assert client.post("/api/plans", json={"model": "starter"}).json()["error"]["code"] == "busy"


def test_who_only_asks_models_plans_nothing(client: TestClient, platform: Platform):
    for role in ("inference", "rater"):
        headers = {"authorization": f"Bearer {key_for(platform, role=role)}"}
        assert client.post("/api/plans", json={"model": "starter"}, headers=headers).status_code == 403


def test_a_plan_that_takes_too_long_is_ended():
    async def late() -> None:
        with pytest.raises(ApiError, match="was not made within 0 s") as caught:
            await Planner(time_limit_s=0.01).plan("model: starter\n", (), {})
        assert caught.value.status == 400

    anyio.run(late)


@pytest.mark.slow
def test_a_plan_is_what_the_command_says(client: TestClient, platform: Platform, tmp_path: Path):
    """Of two rows and of an impossible room; what the machine has left changes between two looks, and is not compared."""
    rows = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}] * 2
    file = upload(platform, rows)
    settings = {"adapter.rank": 4, "train": {"epochs": 3, "batch_size": 1}}
    found = client.post("/api/plans", json={"model": "starter", "training_file": file, "luthier": settings, "price": 2.0}).json()
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["adapter.rank=4", "train.epochs=3", "train.batch_size=1", "--price", "2", "--json", "--data", str(path)]
    said = subprocess.run([sys.executable, "-m", "luthier.cli", "plan", "sft", *options], capture_output=True, check=True)
    told = json.loads(said.stdout)
    for name in ("parameters", "trainable", "workload", "method", "adapter", "fits", "peak"):
        assert found[name] == told[name], name
    assert found["workload"]["num_steps"] == 6 and found["proposed"] is None and found["effort"]["price_an_hour"] == 2.0
    small = client.post("/api/plans", json={"model": "starter", "fit": "1MB"}).json()
    assert not small["fits"] and small["proposed"] is not None and small["room"] == 10**6
    broken = upload(platform, [{"messages": [{"role": "user", "content": "Hi"}]}])
    message = refusal(client, model="starter", training_file=broken)
    assert message.startswith(f"This run cannot be planned. {broken}:1: ") and str(platform.home.folder) not in message
