"""Files over HTTP, with OpenAI's shapes and words."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient
from tests.gateway import key_for, platform_in

from luthier.accounts.audit import entries
from luthier.api.app import create_app
from luthier.api.files import disposition
from luthier.api.platform import Platform
from luthier.store.tables import files as table

ROWS = b'{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello"}]}\n'


def upload(client: TestClient, name: str = "train.jsonl", content: bytes = ROWS, **fields: str) -> Any:
    return client.post("/v1/files", files={"file": (name, content)}, data={"purpose": "fine-tune", **fields})


def error_of(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert list(answer.json()["error"]) == ["message", "type", "param", "code"]
    found: dict[str, Any] = answer.json()["error"]
    return found


def test_a_file_is_told_as_openai_tells_it(client: TestClient):
    file = upload(client).json()
    assert file.pop("id").startswith("file-") and isinstance(file.pop("created_at"), int)
    assert file == {
        "object": "file",
        "purpose": "fine-tune",
        "filename": "train.jsonl",
        "bytes": len(ROWS),
        "expires_at": None,
        "status": "processed",
        "status_details": None,
    }


def test_a_file_comes_back_byte_for_byte(client: TestClient):
    content = bytes(range(256)) * 20_000 + b"\r\n--x"
    file = upload(client, "größe.jsonl", content).json()
    assert client.get(f"/v1/files/{file['id']}").json() == file
    answer = client.get(f"/v1/files/{file['id']}/content")
    assert answer.content == content
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment; filename=\"gr__e.jsonl\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.jsonl"
    assert answer.headers["content-length"] == str(len(content))


@pytest.mark.parametrize(
    "name, told",
    [
        ("train.jsonl", 'attachment; filename="train.jsonl"'),
        ('a"; b\\.jsonl', "attachment; filename=\"a_; b_.jsonl\"; filename*=UTF-8''a%22%3B%20b%5C.jsonl"),
        ("../etc/passwd", 'attachment; filename="../etc/passwd"'),
        ("漢.jsonl", "attachment; filename=\"_.jsonl\"; filename*=UTF-8''%E6%BC%A2.jsonl"),
    ],
)
def test_a_name_in_a_header_is_nothing_but_a_name(name: str, told: str):
    assert disposition(name) == told


def test_a_deleted_file_is_not_found(client: TestClient):
    id = upload(client).json()["id"]
    assert client.delete(f"/v1/files/{id}").json() == {"object": "file", "deleted": True, "id": id}
    for answer in (client.delete(f"/v1/files/{id}"), client.get(f"/v1/files/{id}"), client.get(f"/v1/files/{id}/content")):
        error = error_of(answer, 404)
        assert error == {"message": f"No such File object: {id}", "type": "invalid_request_error", "param": "id", "code": None}


@pytest.mark.parametrize("id", ["file-nope", "..%2f..%2fetc", "%F0%9F%98%80"])
def test_an_id_that_is_none_is_not_found(client: TestClient, id: str):
    assert client.get(f"/v1/files/{id}").status_code == 404


def test_pages(client: TestClient):
    made = [upload(client, f"{number}.jsonl").json()["id"] for number in range(5)]
    first = client.get("/v1/files", params={"limit": 2}).json()
    assert first["object"] == "list" and first["has_more"] is True
    assert [first["first_id"], first["last_id"]] == [file["id"] for file in first["data"]] == made[:-3:-1]
    rest = client.get("/v1/files", params={"after": first["last_id"]}).json()
    assert [file["id"] for file in rest["data"]] == made[2::-1] and rest["has_more"] is False
    assert [file["id"] for file in client.get("/v1/files", params={"order": "asc"}).json()["data"]] == made
    empty = client.get("/v1/files", params={"purpose": "batch"}).json()
    assert empty == {"object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None}


@pytest.mark.parametrize(
    "query, param",
    [
        ({"limit": 0}, "limit"),
        ({"limit": 10_001}, "limit"),
        ({"order": "up"}, "order"),
        ({"after": "file-x"}, "after"),
        ({"purpose": "\0"}, None),
    ],
)
def test_a_list_that_cannot_be(client: TestClient, query: dict[str, Any], param: str | None):
    assert error_of(client.get("/v1/files", params=query), 400)["param"] == param


def expires(**told: str) -> dict[str, str]:
    return {f"expires_after[{name}]": value for name, value in told.items()}


SECONDS = " - 'expires_after.seconds'"
PURPOSES = "['fine-tune', 'assistants', 'batch', 'user_data', 'vision', 'evals']"


@pytest.mark.parametrize(
    "name, fields, message, param",
    [
        ("a.jsonl", {"purpose": "world_domination"}, f"'world_domination' is not one of {PURPOSES} - 'purpose'", "purpose"),
        ("a.txt", {}, "Invalid file format for Fine-Tuning API. Must be .jsonl", None),
        ("a.txt", {"purpose": "batch"}, "Invalid file format for Batch API. Must be .jsonl", None),
        ("a\nb.jsonl", {}, "A file's name has no control characters and is one line; 'a\\nb.jsonl' is not.", "filename"),
        ("a.jsonl", {"colour": "red"}, "Unrecognized request argument supplied: colour", "colour"),
        ("a.jsonl", expires(anchor="now"), "'now' is not one of ['created_at'] - 'expires_after.anchor'", "expires_after.anchor"),
        ("a.jsonl", expires(anchor="created_at"), f"null is not of type 'integer'{SECONDS}", "expires_after.seconds"),
        ("a.jsonl", expires(anchor="created_at", seconds="-1"), f"'-1' is not of type 'integer'{SECONDS}", "expires_after.seconds"),
        (
            "a.jsonl",
            expires(anchor="created_at", seconds="3599"),
            f"3599 is less than the minimum of 3600{SECONDS}",
            "expires_after.seconds",
        ),
        (
            "a.jsonl",
            expires(anchor="created_at", seconds="9" * 5000),
            f"99999999999999999999 is greater than the maximum of 2592000{SECONDS}",
            "expires_after.seconds",
        ),
    ],
)
def test_what_is_refused_is_named(client: TestClient, name: str, fields: dict[str, str], message: str, param: str | None):
    error = error_of(upload(client, name, **fields), 400)
    assert (error["message"], error["param"], error["code"]) == (message, param, None)
    assert client.get("/v1/files").json()["data"] == []


@pytest.mark.parametrize(
    "sent, message",
    [
        ({"files": {"file": ("a.jsonl", ROWS)}}, "'purpose' is a required property"),
        ({"files": {"purpose": (None, "fine-tune")}}, "'file' is a required property"),
        ({"files": {"file": (None, ROWS), "purpose": (None, "fine-tune")}}, "The file has no name. Send it with one, such as train.jsonl."),
        ({"files": {"file": ("a.jsonl", b"")}, "data": {"purpose": "fine-tune"}}, "The file is empty."),
    ],
)
def test_what_is_missing_is_named(client: TestClient, sent: dict[str, Any], message: str):
    assert error_of(client.post("/v1/files", **sent), 400)["message"] == message


def test_json_is_no_form(client: TestClient):
    error = error_of(client.post("/v1/files", json={"purpose": "fine-tune"}), 400)
    assert "its content type is 'application/json'" in error["message"]


def test_a_file_that_expires(client: TestClient, platform: Platform):
    file = upload(client, **{"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}).json()
    assert file["expires_at"] - file["created_at"] == 3600
    with platform.database.write() as connection:
        connection.execute(update(table).values(expires_at=1.0))
    assert client.get(f"/v1/files/{file['id']}").status_code == 404


def kept(platform: Platform) -> list[Path]:
    return [path for path in (platform.home.folder / "blobs").rglob("*") if path.is_file()]


def test_too_large_a_file_is_refused_and_leaves_nothing(tmp_path: Path):
    small = platform_in(tmp_path / "home")
    small.files.most_bytes = 1000
    with TestClient(create_app(small), headers={"authorization": f"Bearer {key_for(small)}"}) as client:
        assert upload(client, content=b"a" * 1000).status_code == 200
        for size in (1001, 100_000):  # the second one is refused by what it says of itself
            error = error_of(upload(client, content=b"b" * size), 413)
            assert "larger than 1,000 bytes" in error["message"] and "/v1/uploads" in error["message"]
    assert len(kept(small)) == 1
    small.database.close()


def test_a_full_disk_is_told_and_the_client_does_not_try_again(client: TestClient, platform: Platform, monkeypatch: pytest.MonkeyPatch):
    """The disk's own error, as the system gives it."""
    import errno
    import os

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    answer = upload(client)
    monkeypatch.undo()
    error = error_of(answer, 507)
    assert error["code"] == "insufficient_storage" and "There is no room left" in error["message"]
    assert answer.headers["x-should-retry"] == "false"
    assert kept(platform) == []


def test_another_project_sees_nothing(client: TestClient, platform: Platform):
    id = upload(client).json()["id"]
    stranger = {"authorization": f"Bearer {key_for(platform, 'other')}"}
    assert client.get("/v1/files", headers=stranger).json()["data"] == []
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        assert client.request(method, f"/v1/files/{id}{path}", headers=stranger).status_code == 404
    assert client.get(f"/v1/files/{id}").status_code == 200


def test_an_auditor_reads_and_changes_nothing(client: TestClient, platform: Platform):
    id = upload(client).json()["id"]
    client.headers["authorization"] = f"Bearer {key_for(platform, role='auditor')}"
    assert client.get(f"/v1/files/{id}/content").content == ROWS
    assert upload(client).status_code == client.delete(f"/v1/files/{id}").status_code == 403


def test_a_project_has_no_more_than_it_may(client: TestClient, platform: Platform):
    platform.accounts.projects.change("default", {"max_files_bytes": 2 * len(ROWS)})
    assert [upload(client).status_code for _ in range(3)] == [200, 200, 429]
    error = error_of(upload(client), 429)
    assert error["code"] == "quota_exceeded" and "files of" in error["message"]


def test_who_did_what_is_written_down(client: TestClient, platform: Platform):
    id = upload(client).json()["id"]
    client.delete(f"/v1/files/{id}")
    lines = entries(platform.database, "default")
    assert [(line.action, line.subject) for line in lines] == [("files.delete", id), ("files.create", id)]
    assert lines[1].details["filename"] == "train.jsonl" and lines[1].key is not None
