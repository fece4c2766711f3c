"""Batches over HTTP: from a file of requests to a file of answers, whatever happens in between. Models are a parrot here."""

import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy import update
from starlette.testclient import TestClient
from tests.api.test_files import error_of
from tests.gateway import NoModels, key_for, platform_in

from luthier.api.app import BATCHED, create_app
from luthier.api.batch_lines import MOST_ERRORS, checked
from luthier.api.batch_work import BatchWork
from luthier.api.platform import Platform
from luthier.spec.serving import Ask, Fault, Piece, Usage
from luthier.store.batches import Batches
from luthier.store.tables import batches as table

CHAT = "/v1/chat/completions"


class Parrot(NoModels):
    """Says the last message again; before that, `hears` is told it, which may return what is said instead."""

    def __init__(self, hears: Callable[[str], Piece | None] = lambda text: None) -> None:
        self.hears = hears

    async def answer(self, ask: Ask) -> AsyncIterator[Piece]:
        assert ask.messages is not None
        text = ask.messages[-1]["content"]
        await anyio.sleep(0)
        yield self.hears(text) or Piece(text=text, finish_reason="stop", usage=Usage(prompt_tokens=1, completion_tokens=1))


def request(number: int, **changed: Any) -> dict[str, Any]:
    body = {"model": "starter", "messages": [{"role": "user", "content": f"number {number}"}]}
    return {"custom_id": f"r{number}", "method": "POST", "url": CHAT, "body": body, **changed}


def lines_of(requests: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in requests)


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    opened = replace(platform_in(tmp_path / "home"), backend=Parrot())
    yield opened
    opened.database.close()


@pytest.fixture
def client(platform: Platform) -> TestClient:
    """A member of the project `default`. The gateway's own tasks do not run: `worked` does what they would."""
    return TestClient(create_app(platform), headers={"authorization": f"Bearer {key_for(platform)}"})


def begun(client: TestClient, content: bytes, **changed: Any) -> Any:
    file = client.post("/v1/files", files={"file": ("in.jsonl", content)}, data={"purpose": "batch"}).json()
    asked = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"} | changed
    return client.post("/v1/batches", json=asked)


def worked(
    platform: Platform, client: TestClient, id: str, until: tuple[str, ...] = ("completed", "failed", "expired", "cancelled")
) -> Any:
    """The batch, once the gateway's task has brought it to one of these statuses."""

    async def work() -> Any:
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(BatchWork(platform, BATCHED, pace=0.01).run)
                while (batch := client.get(f"/v1/batches/{id}").json())["status"] not in until:
                    await anyio.sleep(0.01)
                group.cancel_scope.cancel()
                return batch

    return anyio.run(work)


def answers(client: TestClient, file: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in client.get(f"/v1/files/{file}/content").text.splitlines()]


def test_a_batch_is_told_as_openai_tells_it(client: TestClient):
    batch = begun(client, lines_of([request(1)]), metadata={"team": "a"}).json()
    id, file, at = batch["id"], batch["input_file_id"], batch["created_at"]
    moments = {
        f"{status}_at": None for status in ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
    }
    assert batch == {
        "id": id,
        "object": "batch",
        "endpoint": CHAT,
        "model": None,
        "errors": None,
        "input_file_id": file,
        "completion_window": "24h",
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": at,
        "expires_at": at + 86_400,
        **moments,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "metadata": {"team": "a"},
    }
    assert client.get(f"/v1/batches/{id}").json() == batch
    assert client.get("/v1/batches").json() == {"object": "list", "data": [batch], "has_more": False, "first_id": id, "last_id": id}


def test_every_request_is_answered_once_by_its_name(client: TestClient, platform: Platform):
    requests = [request(number) for number in range(40)]
    requests[7]["body"]["model"] = "nope"
    requests[8]["body"]["temperature"] = 9
    requests[9]["body"]["stream"] = True
    id = begun(client, b"\xef\xbb\xbf" + lines_of(requests).replace(b"\n", b"\r\n\n")).json()["id"]
    batch = worked(platform, client, id)
    assert batch["status"] == "completed" and batch["request_counts"] == {"total": 40, "completed": 38, "failed": 2}
    assert batch["model"] == "starter" and batch["in_progress_at"] <= batch["finalizing_at"] <= batch["completed_at"]
    told = {line["custom_id"]: line for line in answers(client, batch["output_file_id"])}
    assert set(told) == {f"r{number}" for number in range(40)} - {"r7", "r8"}
    assert told["r9"]["response"]["body"]["choices"][0]["message"]["content"] == "number 9"
    assert (
        told["r9"]["response"]["status_code"] == 200
        and told["r9"]["error"] is None
        and told["r9"]["response"]["request_id"].startswith("req_")
    )
    wrong = {line["custom_id"]: line["response"] for line in answers(client, batch["error_file_id"])}
    assert {name: response["status_code"] for name, response in wrong.items()} == {"r7": 404, "r8": 400}
    assert wrong["r7"]["body"]["error"]["code"] == "model_not_found" and wrong["r8"]["body"]["error"]["param"] == "temperature"
    file = client.get(f"/v1/files/{batch['output_file_id']}").json()
    assert (file["purpose"], file["filename"], file["expires_at"]) == ("batch_output", f"{id}_output.jsonl", None)


def test_the_gateways_own_task_does_it(platform: Platform):
    """With the application started, as a server starts it."""
    with TestClient(create_app(platform), headers={"authorization": f"Bearer {key_for(platform)}"}) as client:
        id = begun(client, lines_of([request(1)])).json()["id"]
        until = time.monotonic() + 20
        while client.get(f"/v1/batches/{id}").json()["status"] != "completed":
            assert time.monotonic() < until
            time.sleep(0.05)


@pytest.mark.parametrize(
    "content, code, line, param",
    [
        (b"{]\n", "invalid_json_line", 1, None),
        (b"[1]\n", "invalid_json_line", 1, None),
        (b"[" * 100_000 + b"\n", "invalid_json_line", 1, None),
        (lines_of([request(1), request(1)]), "duplicate_custom_id", 2, "custom_id"),
        (lines_of([request(1, url="/v1/embeddings")]), "mismatched_url", 1, "url"),
        (lines_of([request(1, method="GET")]), "invalid_method", 1, "method"),
        (lines_of([request(1, body="x")]), "invalid_type", 1, "body"),
        (b'{"custom_id": "a"}\n', "missing_required_parameter", 1, "method"),
        (b"\n \n", "empty_file", None, None),
    ],
)
def test_a_file_that_is_not_sound_fails(
    client: TestClient, platform: Platform, content: bytes, code: str, line: int | None, param: str | None
):
    batch = worked(platform, client, begun(client, content).json()["id"])
    assert batch["status"] == "failed" and batch["failed_at"] is not None and batch["output_file_id"] is None
    (fault,) = batch["errors"]["data"]
    assert (fault["code"], fault["line"], fault["param"]) == (code, line, param)


def test_many_faults_are_told_up_to_an_end():
    faults, _, _ = checked(((number, b"x") for number in range(1000)), CHAT)
    assert len(faults) == MOST_ERRORS


@pytest.mark.parametrize(
    "changed, param",
    [
        ({"input_file_id": "file-x"}, "input_file_id"),
        ({"endpoint": "/v1/images"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_is_refused_is_named(client: TestClient, changed: dict[str, Any], param: str):
    assert error_of(begun(client, lines_of([request(1)]), **changed), 400)["param"] == param


def test_a_file_for_another_purpose_is_refused(client: TestClient):
    file = client.post("/v1/files", files={"file": ("in.jsonl", b"{}\n")}, data={"purpose": "fine-tune"}).json()["id"]
    error = error_of(client.post("/v1/batches", json={"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"}), 400)
    assert "was uploaded for 'fine-tune'. Upload it with purpose='batch'" in error["message"]


def test_a_busy_sampler_is_waited_for_and_a_broken_one_is_not_for_ever(client: TestClient, platform: Platform):
    heard: list[str] = []

    def hears(text: str) -> Piece | None:
        heard.append(text)
        if text == "number 1" and heard.count(text) < 5:
            return Piece(error=Fault(kind="overloaded", message="later", retry_after=0))
        if text == "number 3":
            raise ZeroDivisionError
        return Piece(error=Fault(kind="internal", message="broken")) if text == "number 2" else None

    platform.backend.hears = hears  # type: ignore[attr-defined]
    batch = worked(platform, client, begun(client, lines_of([request(1), request(2), request(3)])).json()["id"])
    assert batch["request_counts"] == {"total": 3, "completed": 1, "failed": 2}
    assert [heard.count(f"number {number}") for number in (1, 2, 3)] == [5, 3, 3]
    assert {line["response"]["status_code"] for line in answers(client, batch["error_file_id"])} == {500}


def test_a_gateway_that_dies_in_the_middle_loses_no_answer(client: TestClient, platform: Platform):
    """The first one is stopped after 5 answers, a second one answers the rest, and only that."""
    heard: list[str] = []
    fifth = threading.Event()

    def hears(text: str) -> Piece | None:
        heard.append(text)
        if len(heard) > 5:
            fifth.set()
            return Piece(error=Fault(kind="overloaded", message="later", retry_after=0))
        return None

    platform.backend.hears = hears  # type: ignore[attr-defined]
    id = begun(client, lines_of([request(number) for number in range(20)])).json()["id"]

    async def until_fifth() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(BatchWork(platform, BATCHED, pace=0.01).run)
            while not fifth.is_set() or client.get(f"/v1/batches/{id}").json()["request_counts"]["completed"] < 5:
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()

    anyio.run(until_fifth)
    answered = Batches(platform.database, platform.blobs).answered(id)
    assert len(answered) == 5
    again: list[str] = []
    platform.backend.hears = lambda text: again.append(text)  # type: ignore[attr-defined]
    batch = worked(platform, client, id)
    assert batch["request_counts"] == {"total": 20, "completed": 20, "failed": 0}
    assert len(again) == 15 and len(answers(client, batch["output_file_id"])) == 20


def test_a_cancelled_batch_keeps_what_is_there(client: TestClient, platform: Platform):
    id = begun(client, lines_of([request(number) for number in range(200)])).json()["id"]

    def hears(text: str) -> Piece | None:
        if text == "number 20":
            client.post(f"/v1/batches/{id}/cancel")
        time.sleep(0.005)
        return None

    platform.backend.hears = hears  # type: ignore[attr-defined]
    batch = worked(platform, client, id)
    assert batch["status"] == "cancelled" and batch["cancelling_at"] is not None and batch["cancelled_at"] is not None
    assert 0 < batch["request_counts"]["completed"] < 200
    assert len(answers(client, batch["output_file_id"])) == batch["request_counts"]["completed"]
    error = error_of(client.post(f"/v1/batches/{id}/cancel"), 400)
    assert error["message"] == "Cannot cancel a batch with status 'cancelled'."


def test_a_batch_that_is_late_tells_of_each_request_why(client: TestClient, platform: Platform):
    id = begun(client, lines_of([request(number) for number in range(30)])).json()["id"]
    with platform.database.write() as connection:
        connection.execute(update(table).values(expires_at=1.0))
    platform.backend.hears = lambda text: Piece(error=Fault(kind="overloaded", message="later", retry_after=0))  # type: ignore[attr-defined]
    batch = worked(platform, client, id)
    assert batch["status"] == "expired" and batch["request_counts"] == {"total": 30, "completed": 0, "failed": 30}
    assert {line["error"]["code"] for line in answers(client, batch["error_file_id"])} == {"batch_expired"}


def test_a_batch_ends_when_its_key_is_revoked(client: TestClient, platform: Platform):
    """What was answered before stays; of all else it is told why there is no answer."""
    id = begun(client, lines_of([request(number) for number in range(200)])).json()["id"]
    (known,) = [key for key in platform.accounts.keys.of("default") if key.role == "member"]

    def hears(text: str) -> Piece | None:
        if text == "number 20":
            platform.accounts.revoke(known.id)
        time.sleep(0.005)
        return None

    platform.backend.hears = hears  # type: ignore[attr-defined]
    reader = TestClient(create_app(platform), headers={"authorization": f"Bearer {key_for(platform)}"})
    batch = worked(platform, reader, id)
    counts = batch["request_counts"]
    assert batch["status"] == "cancelled" and 0 < counts["completed"] < 200 and counts["completed"] + counts["failed"] == 200
    assert len(answers(reader, batch["output_file_id"])) == counts["completed"]
    (error,) = {json.dumps(line["error"]) for line in answers(reader, batch["error_file_id"])}
    assert json.loads(error)["code"] == "key_revoked" and "opens nothing any more" in json.loads(error)["message"]


def test_its_file_may_be_deleted_meanwhile(client: TestClient, platform: Platform):
    batch = begun(client, lines_of([request(1)])).json()
    client.delete(f"/v1/files/{batch['input_file_id']}")
    platform.files.sweep()
    assert worked(platform, client, batch["id"])["status"] == "completed"


def test_a_file_whose_bytes_are_lost_is_told(client: TestClient, platform: Platform):
    batch = begun(client, lines_of([request(1)])).json()
    platform.blobs.delete(platform.files.find("default", batch["input_file_id"]).sha256)
    (fault,) = worked(platform, client, batch["id"])["errors"]["data"]
    assert (fault["code"], fault["param"]) == ("input_file_gone", "input_file_id")


def test_another_project_sees_no_batch(client: TestClient, platform: Platform):
    id = begun(client, lines_of([request(1)])).json()["id"]
    client.headers["authorization"] = f"Bearer {key_for(platform, 'other')}"
    assert client.get("/v1/batches").json()["data"] == []
    assert error_of(client.get(f"/v1/batches/{id}"), 404)["message"] == f"No such Batch object: {id}"
    assert client.post(f"/v1/batches/{id}/cancel").status_code == 404
    assert error_of(client.get("/v1/batches", params={"after": id}), 400)["param"] == "after"


def test_pages_of_batches(client: TestClient):
    made = [begun(client, lines_of([request(1)])).json()["id"] for _ in range(3)]
    first = client.get("/v1/batches", params={"limit": 2}).json()
    assert [batch["id"] for batch in first["data"]] == made[:0:-1] and first["has_more"]
    rest = client.get("/v1/batches", params={"after": first["last_id"]}).json()
    assert [batch["id"] for batch in rest["data"]] == made[:1] and not rest["has_more"]
