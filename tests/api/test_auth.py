"""Keys over HTTP: who is let in, in which words others are sent away, how much is told to be left."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import openai
import pytest
from fastapi import Depends, FastAPI, Request
from sqlalchemy import text
from starlette.testclient import TestClient
from tests.gateway import key_for, platform_in, serving

from luthier.accounts.keys import Wanted
from luthier.api import errors
from luthier.api.app import create_app
from luthier.api.auth import Caller, Door, may
from luthier.api.limits import settle_tokens, span, take_tokens
from luthier.api.platform import Platform


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    opened = platform_in(tmp_path / "home")
    yield opened
    opened.database.close()


@pytest.fixture
def client(platform: Platform) -> TestClient:
    return TestClient(create_app(platform), raise_server_exceptions=False)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize("header, value", [("authorization", "Bearer {}"), ("Authorization", "bearer  {} "), ("api-key", "{}")])
def test_a_key_comes_as_openais_clients_send_it_or_as_azures(client: TestClient, platform: Platform, header: str, value: str):
    assert client.get("/v1/models", headers={header: value.format(key_for(platform))}).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer"}, {"authorization": "Basic abc"}, {"api-key": " "}])
def test_without_a_key(client: TestClient, headers: dict[str, str]):
    answer = client.get("/v1/models", headers=headers)
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"] == {
        "message": "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
        "(i.e. Authorization: Bearer YOUR_KEY). You can obtain an API key on the server with:  luthier keys create",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    }


def test_a_wrong_key_is_told_shortened(client: TestClient):
    answer = client.get("/v1/models", headers=bearer("sk-proj-aVeryLongKeyOfOpenAI-xyz"))
    message = "Incorrect API key provided: sk-pr…yz. You can find your API keys on the server with:  luthier keys list"
    assert answer.status_code == 401 and answer.json()["error"]["message"] == message


def test_a_revoked_key_is_told_that_it_was(client: TestClient, platform: Platform):
    known, key = platform.accounts.keys.create(Wanted())
    assert client.get("/v1/models", headers=bearer(key)).status_code == 200
    assert client.delete(f"/api/keys/{known.id}", headers=bearer(key)).json()["status"] == "revoked"
    answer = client.get("/v1/models", headers=bearer(key))
    assert answer.status_code == 401 and " It was revoked on " in answer.json()["error"]["message"]


def test_a_role_that_may_not_is_told_which_do(client: TestClient, platform: Platform):
    answer = client.get("/v1/files", headers=bearer(key_for(platform, role="inference")))
    assert answer.status_code == 403
    assert answer.json()["error"] == {
        "message": "The role inference of this key has no permission files.read; the roles that do are `admin`, `auditor` and `member`.",
        "type": "invalid_request_error",
        "param": None,
        "code": "permission_denied",
    }


def test_openais_client_knows_these_errors(platform: Platform):
    with serving(create_app(platform)) as url:
        for key, kind in (("sk-no", openai.AuthenticationError), (key_for(platform, role="rater"), openai.PermissionDeniedError)):
            with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client, pytest.raises(kind) as refused:
                client.models.list()
            assert refused.value.code == ("invalid_api_key" if key == "sk-no" else "permission_denied") and refused.value.request_id


def test_nobody_reads_a_strangers_body():
    """The door answers before the first byte of it is asked for."""
    import asyncio

    sent: list[Any] = []

    async def never(*_: Any) -> Any:
        raise AssertionError("the body is read, or the route is reached")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/files", "headers": [], "app": FastAPI(), "query_string": b""}
    asyncio.run(Door(never)(scope, never, send))
    assert sent[0]["status"] == 401


def test_a_database_that_is_gone_is_no_wrong_key(client: TestClient, platform: Platform):
    key = key_for(platform)
    with platform.database.write() as connection:
        connection.execute(text("ALTER TABLE keys RENAME TO hidden"))
    answer = client.get("/v1/models", headers=bearer(key))
    assert answer.status_code == 503 and answer.json()["error"]["code"] == "database_unavailable" and answer.headers["retry-after"]


def test_a_key_for_every_project_chooses_by_a_header(client: TestClient, platform: Platform):
    theirs = platform.accounts.projects.create("theirs")
    platform.accounts.keys.create(Wanted(theirs.id, name="x"))
    _, key = platform.accounts.keys.create(Wanted(role="auditor", everywhere=True))
    listed = [client.get("/api/keys", headers={**bearer(key), **more}).json() for more in ({}, {"luthier-project": "theirs"})]
    assert [{one["project"] for one in page["data"]} for page in listed] == [{"default"}, {theirs.id}]
    answer = client.get("/api/keys", headers={**bearer(key_for(platform, role="admin")), "luthier-project": "theirs"})
    assert answer.status_code == 403 and "not for the project theirs" in answer.json()["error"]["message"]


def test_openais_project_header_is_left_alone(client: TestClient, platform: Platform):
    old = {"OpenAI-Project": "proj_theirs", "OpenAI-Organization": "org-x"}
    assert client.get("/v1/models", headers={**bearer(key_for(platform)), **old}).status_code == 200


def test_requests_of_a_minute_are_told_and_end(client: TestClient, platform: Platform):
    platform.accounts.projects.change("default", {"requests_per_minute": 2})
    first, second = (bearer(key_for(platform)) for _ in range(2))
    answers = [client.get("/v1/models", headers=first) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["1", "0", "0"]
    assert {answer.headers["x-ratelimit-limit-requests"] for answer in answers} == {"2"}
    assert answers[0].headers["x-ratelimit-reset-requests"] in ("30s", "29.99s")
    error, headers = answers[2].json()["error"], answers[2].headers
    assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
    assert error["message"].startswith(
        "Rate limit reached for this key in project default on requests per min (RPM): Limit 2, Used 2, Requested 1. Please try again in "
    )
    assert 28 <= int(headers["retry-after"]) <= 30 and 28_000 <= int(headers["retry-after-ms"]) <= 30_000
    assert client.get("/v1/models", headers=second).status_code == 200, "another key has its own"


def test_without_limits_nothing_is_told(client: TestClient, platform: Platform):
    answer = client.get("/v1/models", headers=bearer(key_for(platform)))
    assert [name for name in answer.headers if name.startswith("x-ratelimit")] == []


def test_tokens_are_counted_before_and_settled_after(platform: Platform):
    """A route that asks a model, with its settings: 100 tokens a minute."""
    app = FastAPI()
    app.state.platform = platform
    errors.install(app)
    app.add_middleware(Door)

    @app.post("/v1/ask/{at_most}/{used}")
    def ask(at_most: int, used: int, caller: Annotated[Caller, Depends(may("inference.use"))], request: Request) -> str:
        take_tokens(request, at_most)
        settle_tokens(request, at_most, used)
        return caller.role

    platform.accounts.projects.change("default", {"tokens_per_minute": 100})
    client = TestClient(app, headers=bearer(key_for(platform)))
    assert client.post("/v1/ask/90/40").headers["x-ratelimit-remaining-tokens"] == "10"
    answer = client.post("/v1/ask/50/50")
    assert answer.status_code == 200 and answer.headers["x-ratelimit-remaining-tokens"] == "10"  # 100 - 40 - 50
    refused = client.post("/v1/ask/50/50")
    assert refused.status_code == 429 and refused.json()["error"]["type"] == "tokens" and int(refused.headers["retry-after"]) in (23, 24)
    never = client.post("/v1/ask/101/1")
    assert never.status_code == 429 and never.headers["x-should-retry"] == "false" and "retry-after" not in never.headers
    assert "Request too large for this key in project default on tokens per min (TPM): Limit 100, Requested 101." in never.text


@pytest.mark.parametrize("seconds, told", [(0, "0ms"), (0.02, "20ms"), (8.64, "8.64s"), (20.0, "20s"), (360, "6m0s"), (61.5, "1m1s")])
def test_spans_are_written_as_openai_does(seconds: float, told: str):
    assert span(seconds) == told
