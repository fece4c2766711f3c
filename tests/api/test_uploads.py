"""Files in parts over HTTP, with OpenAI's shapes."""

import hashlib
import json
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.api.test_files import error_of
from tests.gateway import key_for

from luthier.api.platform import Platform
from luthier.store.uploads import MOST_PART_BYTES


def begin(client: TestClient, **changed: Any) -> Any:
    asked = {"filename": "train.jsonl", "purpose": "fine-tune", "bytes": 6, "mime_type": "text/jsonl"}
    return client.post("/v1/uploads", content=json.dumps(asked | changed), headers={"content-type": "application/json"})


def send(client: TestClient, upload: str, content: bytes) -> Any:
    return client.post(f"/v1/uploads/{upload}/parts", files={"data": content})


def test_an_upload_from_beginning_to_end(client: TestClient):
    upload = begin(client).json()
    id, created_at = upload["id"], upload["created_at"]
    assert upload == {
        "id": id,
        "object": "upload",
        "bytes": 6,
        "created_at": created_at,
        "filename": "train.jsonl",
        "purpose": "fine-tune",
        "status": "pending",
        "expires_at": created_at + 3600,
    }
    parts = [send(client, id, content).json() for content in (b"def", b"abc")]
    assert parts[0] == {"id": parts[0]["id"], "object": "upload.part", "created_at": parts[0]["created_at"], "upload_id": id}
    asked = {"part_ids": [parts[1]["id"], parts[0]["id"]], "md5": hashlib.md5(b"abcdef").hexdigest()}
    done = client.post(f"/v1/uploads/{id}/complete", json=asked).json()
    assert done["status"] == "completed" and done["file"]["bytes"] == 6 and done["file"]["filename"] == "train.jsonl"
    assert client.get(f"/v1/files/{done['file']['id']}/content").content == b"abcdef"


def test_a_file_from_an_upload_expires(client: TestClient):
    upload = begin(client, expires_after={"anchor": "created_at", "seconds": 7200}).json()
    part = send(client, upload["id"], b"abcdef").json()["id"]
    file = client.post(f"/v1/uploads/{upload['id']}/complete", json={"part_ids": [part]}).json()["file"]
    assert file["expires_at"] - file["created_at"] == 7200


def test_cancelled(client: TestClient, platform: Platform):
    id = begin(client).json()["id"]
    send(client, id, b"abc")
    assert client.post(f"/v1/uploads/{id}/cancel").json()["status"] == "cancelled"
    assert "is cancelled and takes no more parts" in error_of(send(client, id, b"abc"), 400)["message"]
    assert not [path for path in (platform.home.folder / "blobs").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "changed, param",
    [
        ({"bytes": 0}, "bytes"),
        ({"bytes": 9 * 10**9}, "bytes"),
        ({"bytes": "6"}, "bytes"),
        ({"bytes": True}, "bytes"),
        ({"purpose": "x"}, "purpose"),
        ({"purpose": None}, "purpose"),
        ({"filename": "a.txt"}, None),
        ({"filename": "a\0.jsonl"}, None),
        ({"filename": "\ud800.jsonl"}, None),
        ({"mime_type": "a\nb"}, "mime_type"),
        ({"expires_after": {"anchor": "created_at", "seconds": 1}}, "expires_after.seconds"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_is_refused_is_named(client: TestClient, changed: dict[str, Any], param: str | None):
    assert error_of(begin(client, **changed), 400)["param"] == param


def test_what_does_not_add_up(client: TestClient):
    id = begin(client).json()["id"]
    part = send(client, id, b"abc").json()["id"]
    complete = f"/v1/uploads/{id}/complete"
    assert "hold 3 bytes together" in error_of(client.post(complete, json={"part_ids": [part]}), 400)["message"]
    assert error_of(client.post(complete, json={"part_ids": [part, "part_x"]}), 400)["param"] == "part_ids.1"
    assert error_of(client.post(complete, json={"part_ids": []}), 400)["param"] == "part_ids"
    assert error_of(client.post(complete, json={"part_ids": [part], "md5": "x"}), 400)["param"] == "md5"
    assert error_of(client.post(complete, json={}), 400)["param"] == "part_ids"
    assert (
        error_of(client.post("/v1/uploads/upload_x/complete", json={"part_ids": [part]}), 404)["message"]
        == "No such Upload object: upload_x"
    )


def test_a_part_that_is_none(client: TestClient):
    id = begin(client).json()["id"]
    sent = f"/v1/uploads/{id}/parts"
    assert error_of(client.post(sent, files={"file": b"abc"}), 400)["param"] == "file"
    assert error_of(client.post(sent, files={"data": b""}), 400)["message"] == "The part is empty."
    large = error_of(client.post(sent, files={"data": bytes(MOST_PART_BYTES + 1)}), 413)
    assert large["message"].startswith("The file is larger than 67,108,864 bytes")
    assert error_of(send(client, "upload_x", b"abc"), 404)["param"] == "upload_id"


def test_another_projects_upload_does_not_exist(client: TestClient, platform: Platform):
    id = begin(client).json()["id"]
    client.headers["authorization"] = f"Bearer {key_for(platform, 'other')}"
    assert send(client, id, b"abc").status_code == 404
    assert client.post(f"/v1/uploads/{id}/cancel").status_code == 404
    assert client.post(f"/v1/uploads/{id}/complete", json={"part_ids": ["part_x"]}).status_code == 404


def test_a_project_begins_no_more_than_it_may_keep(client: TestClient, platform: Platform):
    platform.accounts.projects.change("default", {"max_files_bytes": 5})
    assert error_of(begin(client), 429)["code"] == "quota_exceeded"
