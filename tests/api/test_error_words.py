"""What clients match: OpenAI's own envelopes, word for word, of whatever is not there, is of another kind, or has ended."""

from typing import Any

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from luthier.api.platform import Platform
from luthier.store.tables import jobs

ROWS = b'{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello"}]}\n'

JOB = ("Could not find fine tune: ftjob-none", "fine_tune_id", "fine_tune_not_found")
COMPLETION = ("Completion chatcmpl-none not found", "completion_id", "not_found")
RESPONSE = ("Response with id 'resp_none' not found.", None, None)
FILE = ("No such File object: file-none", "id", None)
MODEL = ("The model 'none' does not exist", "model", "model_not_found")

MISSING = [
    ("GET", "/fine_tuning/jobs/ftjob-none", JOB),
    ("GET", "/fine_tuning/jobs/ftjob-none/events", JOB),
    ("GET", "/fine_tuning/jobs/ftjob-none/checkpoints", JOB),
    ("POST", "/fine_tuning/jobs/ftjob-none/cancel", JOB),
    ("POST", "/fine_tuning/jobs/ftjob-none/pause", JOB),
    ("POST", "/fine_tuning/jobs/ftjob-none/resume", JOB),
    ("GET", "/chat/completions/chatcmpl-none", COMPLETION),
    ("POST", "/chat/completions/chatcmpl-none", COMPLETION),
    ("DELETE", "/chat/completions/chatcmpl-none", COMPLETION),
    ("GET", "/chat/completions/chatcmpl-none/messages", COMPLETION),
    ("GET", "/responses/resp_none", RESPONSE),
    ("DELETE", "/responses/resp_none", RESPONSE),
    ("GET", "/responses/resp_none/input_items", RESPONSE),
    ("GET", "/files/file-none", FILE),
    ("GET", "/files/file-none/content", FILE),
    ("DELETE", "/files/file-none", FILE),
    ("GET", "/models/none", MODEL),
    ("DELETE", "/models/none", MODEL),
]


def told(answer: Any, status: int) -> tuple[str, str | None, str | None]:
    """Message, param and code of an envelope that has nothing else, in OpenAI's order; not worth another try."""
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"] and list(answer.json()["error"]) == ["message", "type", "param", "code"]
    message, kind, param, code = answer.json()["error"].values()
    assert kind == "invalid_request_error" and "retry-after" not in answer.headers
    return message, param, code


def uploaded(client: TestClient, purpose: str = "fine-tune") -> str:
    answer = client.post("/v1/files", files={"file": ("train.jsonl", ROWS)}, data={"purpose": purpose})
    return str(answer.json()["id"])


@pytest.mark.parametrize(("method", "path", "words"), MISSING, ids=[f"{method} {path}" for method, path, _ in MISSING])
def test_what_is_not_there(client: TestClient, method: str, path: str, words: tuple[str, str | None, str | None]):
    body = {"metadata": {"a": "b"}} if (method, path) == ("POST", "/chat/completions/chatcmpl-none") else None
    assert told(client.request(method, f"/v1{path}", json=body), 404) == words


@pytest.mark.parametrize("field", ["training_file", "validation_file"])
def test_a_file_that_cannot_be_trained_on(client: TestClient, field: str):
    other = uploaded(client, "batch")
    asked = {"model": "starter", "training_file": uploaded(client)}
    for given, why in (("file-none", ""), (other, " (its purpose is batch, and must be fine-tune)")):
        answer = client.post("/v1/fine_tuning/jobs", json={**asked, field: given})
        assert told(answer, 400) == (f"invalid {field}: {given}{why}", field, None)
    assert client.get("/v1/fine_tuning/jobs").json()["data"] == []


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
@pytest.mark.parametrize(("verb", "past"), [("cancel", "cancelled"), ("pause", "paused"), ("resume", "resumed")])
def test_a_job_that_has_ended(platform: Platform, client: TestClient, status: str, verb: str, past: str):
    job = client.post("/v1/fine_tuning/jobs", json={"model": "starter", "training_file": uploaded(client)}).json()["id"]
    with platform.database.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job).values(status=status))
    answer = client.post(f"/v1/fine_tuning/jobs/{job}/{verb}")
    assert told(answer, 400) == (f"Job {job} has already {status} and cannot be {past}.", None, "invalid_job_status")
    assert client.get(f"/v1/fine_tuning/jobs/{job}").json()["status"] == status
