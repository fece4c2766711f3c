"""Our own routes for keys, projects and the record of what was done."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.gateway import platform_in

from luthier.accounts.keys import Wanted
from luthier.api.app import create_app
from luthier.api.platform import Platform


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    opened = platform_in(tmp_path / "home")
    yield opened
    opened.database.close()


@pytest.fixture
def client(platform: Platform) -> TestClient:
    """The first key's: an admin of every project."""
    return TestClient(create_app(platform), headers={"authorization": f"Bearer {platform.accounts.first_key()}"})


def admin_of(client: TestClient, project: str) -> TestClient:
    made = client.post("/api/keys", json={"role": "admin"}, headers={"luthier-project": project}).json()
    return TestClient(client.app, headers={"authorization": f"Bearer {made['value']}"})


def test_a_key_is_told_once(client: TestClient):
    made = client.post("/api/keys", json={"role": "inference", "name": "the app", "days": 30}).json()
    value = made.pop("value")
    assert value.startswith("lt-") and (made["object"], made["role"], made["name"], made["status"]) == (
        "api_key",
        "inference",
        "the app",
        "active",
    )
    assert made["redacted_value"] == f"{value[:5]}…{value[-2:]}" and made["expires_at"] - made["created_at"] == pytest.approx(
        30 * 86_400, abs=1
    )
    assert client.get(f"/api/keys/{made['id']}").json() == made
    assert value not in client.get("/api/keys").text + client.get("/api/audit").text


def test_keys_page_as_openais_lists_do(client: TestClient):
    made = [client.post("/api/keys", json={}).json()["id"] for _ in range(4)]
    first = client.get("/api/keys", params={"limit": 3}).json()
    assert [key["id"] for key in first["data"]] == made[::-1][:3] and first["has_more"] and first["last_id"] == made[1]
    rest = client.get("/api/keys", params={"limit": 3, "after": first["last_id"]}).json()
    assert rest["data"][0]["id"] == made[0] and len(rest["data"]) == 2 and not rest["has_more"]
    assert client.get("/api/keys", params={"after": "key_none"}).status_code == 404


@pytest.mark.parametrize(
    "body, param, said",
    [
        ({"role": "admim"}, None, "There is no role `admim`. Did you mean `admin`?"),
        ({"days": 0}, "days", "0 is less than or equal to the minimum of 0"),
        ({"name": "x" * 101}, "name", "too long"),
        ({"rôle": "admin"}, "rôle", "Unrecognized request argument supplied: rôle"),
        ({"role": "rater", "everywhere": True}, None, "A key for every project is that of an `admin` or `auditor`"),
    ],
)
def test_a_key_that_cannot_be_made(client: TestClient, body: dict[str, Any], param: str | None, said: str):
    answer = client.post("/api/keys", json=body)
    assert answer.status_code == 400 and said in answer.json()["error"]["message"] and answer.json()["error"]["param"] == param


def test_an_admin_of_a_project_makes_keys_for_it_alone_and_sets_no_limits(client: TestClient):
    project = client.post("/api/projects", json={"name": "team-a", "settings": {"max_open_jobs": 1}}).json()
    theirs = admin_of(client, "team-a")
    assert theirs.post("/api/keys", json={}).json()["project"] == project["id"]
    refused = [
        theirs.post("/api/keys", json={"role": "admin", "everywhere": True}),
        theirs.post("/api/keys", json={}, headers={"luthier-project": "default"}),
        theirs.post("/api/projects", json={"name": "mine"}),
        theirs.patch("/api/projects/team-a", json={"max_open_jobs": 100}),
    ]
    assert [answer.status_code for answer in refused] == [403] * 4
    assert [one["name"] for one in theirs.get("/api/projects").json()["data"]] == ["team-a"]
    assert theirs.get("/api/projects/default").status_code == 404
    assert [one["name"] for one in client.get("/api/projects").json()["data"]] == ["default", "team-a"]


def test_a_projects_settings_are_set_one_by_one(client: TestClient):
    client.patch("/api/projects/default", json={"max_open_jobs": 2, "tokens_per_minute": 50})
    changed = client.patch("/api/projects/default", json={"max_open_jobs": None}).json()
    assert (
        changed["settings"].items()
        >= {
            "max_open_jobs": None,
            "max_files_bytes": None,
            "trained_tokens_per_month": None,
            "requests_per_minute": None,
            "tokens_per_minute": 50,
        }.items()
    )
    told = client.get("/api/projects/default").json()
    assert told["usage"] == {"open_jobs": 0, "files_bytes": 0, "trained_tokens_this_month": 0}
    answer = client.patch("/api/projects/default", json={"max_open_jobs": -1})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "max_open_jobs"
    assert client.patch("/api/projects/nothing", json={}).status_code == 404
    assert client.post("/api/projects", json={"name": "default"}).json()["error"]["param"] == "name"


def test_the_record_says_who_did_what(client: TestClient, platform: Platform):
    first = platform.accounts.keys.of()[0].id
    made = client.post("/api/keys", json={"name": "a"})
    client.delete(f"/api/keys/{made.json()['id']}")
    client.patch("/api/projects/default", json={"max_open_jobs": 2})
    told = client.get("/api/audit").json()
    assert [(one["action"], one["subject"]) for one in told["data"]] == [
        ("projects.change", "default"),
        ("keys.revoke", made.json()["id"]),
        ("keys.create", made.json()["id"]),
        ("keys.create", first),
    ]
    assert [one["key"] for one in told["data"]] == [first] * 3 + [None] and told["data"][2]["request_id"] == made.headers["x-request-id"]
    page = client.get("/api/audit", params={"limit": 1, "after": told["first_id"]}).json()
    assert page["data"] == told["data"][1:2] and page["has_more"]
    assert [one["action"] for one in client.get("/api/audit", params={"action": "keys", "key": first}).json()["data"]] == [
        "keys.revoke",
        "keys.create",
    ]


@pytest.mark.parametrize("after", ["audit_", "x", "audit_-1", "audit_1e3", "audit_" + "9" * 30, "audit_²"])
def test_a_cursor_that_is_none_is_told(client: TestClient, after: str):
    answer = client.get("/api/audit", params={"after": after})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "after"


def test_what_auditors_and_admins_of_one_project_read_is_of_it(client: TestClient, platform: Platform):
    client.post("/api/projects", json={"name": "team-a"})
    theirs = admin_of(client, "team-a")
    theirs.post("/api/keys", json={"name": "theirs"})
    told = theirs.get("/api/audit").json()["data"]
    assert [one["details"]["name"] for one in told] == ["theirs", ""] and {one["project"] for one in told} == {
        platform.accounts.projects.get("team-a").id
    }
    _, member = platform.accounts.keys.create(Wanted(role="member"))
    assert client.get("/api/audit", headers={"authorization": f"Bearer {member}"}).status_code == 403
